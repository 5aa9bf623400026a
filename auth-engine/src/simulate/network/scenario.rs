//! A scenario file: its form, how it is read, and every check that can be made before anything is sent. It must never
//! open a connection.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use iso_codec::{Framing, Mti, Spec, Width};
use regex::Regex;
use serde::Deserialize;
use toml::Spanned;

use crate::cli::spec::load_spec;

/// How long a reply is waited for when a step does not say: longer than any link's budget by default.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most messages of one step.
const MOST_REPEATS: u32 = 100_000;
/// The most templates that one stands on.
const MOST_BASES: usize = 16;
/// The longest think time or wait.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// A scenario that does not read: line, reason, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Line from 1; 0 when there is none.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default)]
    title: String,
    #[serde(rename = "link")]
    links: Vec<Spanned<LinkFile>>,
    setup: Option<SetupFile>,
    #[serde(default)]
    vars: BTreeMap<String, String>,
    #[serde(default)]
    template: BTreeMap<String, Spanned<TemplateFile>>,
    #[serde(rename = "step")]
    steps: Vec<Spanned<StepFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkFile {
    name: String,
    connect: Option<String>,
    listen: Option<String>,
    #[serde(default = "mastercard")]
    spec: String,
    #[serde(default = "len2be")]
    framing: String,
    #[serde(default)]
    inclusive: bool,
    /// Hexadecimal bytes between length and message.
    #[serde(default)]
    header: String,
}

fn mastercard() -> String {
    "mastercard".to_owned()
}

fn len2be() -> String {
    "len2be".to_owned()
}

/// What is made by REST before the first step.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupFile {
    /// `auto_approve` or `auto_decline`.
    #[serde(default = "auto_approve")]
    pub decision: String,
    /// Currency of the pool.
    #[serde(default = "eur")]
    pub currency: String,
    /// What is paid into it.
    #[serde(default = "thousand")]
    pub amount: String,
    /// How many cards there are: `{pan}` is the first, `{pan.2}` the second.
    #[serde(default = "one")]
    pub cards: u32,
}

fn auto_approve() -> String {
    "auto_approve".to_owned()
}

fn eur() -> String {
    "EUR".to_owned()
}

fn thousand() -> String {
    "1000.00".to_owned()
}

fn one() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateFile {
    mti: String,
    #[serde(default)]
    base: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, ValueFile>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum ValueFile {
    Text(String),
    /// `false` takes an element out of what the template has.
    Out(bool),
    Subs(toml::Table),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepFile {
    name: Option<String>,
    link: Option<String>,
    send: Option<String>,
    mti: Option<String>,
    #[serde(default)]
    fields: BTreeMap<String, ValueFile>,
    bytes: Option<String>,
    again: Option<String>,
    receive: Option<ExpectFile>,
    answer: Option<String>,
    #[serde(default = "one")]
    repeat: u32,
    think: Option<ThinkFile>,
    keep: Option<String>,
    #[serde(default = "yes", rename = "await")]
    awaited: bool,
    #[serde(default)]
    collect: bool,
    #[serde(default)]
    fault: FaultFile,
    expect: Option<ExpectFile>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ThinkFile {
    Always(String),
    Between([String; 2]),
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultFile {
    split: Option<SplitFile>,
    pause: Option<String>,
    #[serde(default)]
    coalesce: bool,
    #[serde(default)]
    shuffle: bool,
    length: Option<i64>,
    half: Option<usize>,
    #[serde(default)]
    disconnect: bool,
    #[serde(default)]
    duplicate: u32,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SplitFile {
    At(Vec<usize>),
    Every(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectFile {
    mti: Option<String>,
    within: Option<String>,
    #[serde(default)]
    none: bool,
    #[serde(default)]
    closed: bool,
    #[serde(default)]
    fields: BTreeMap<String, CheckFile>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CheckFile {
    Equal(String),
    Rule(RuleFile),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    present: Option<bool>,
    absent: Option<bool>,
    same: Option<bool>,
    pattern: Option<String>,
}

/// How a link is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// We connect to the engine.
    Connect(String),
    /// The engine connects to us.
    Listen(String),
}

/// A link.
#[derive(Debug, Clone)]
pub struct Link {
    /// Its name in the scenario.
    pub name: String,
    /// Who connects, and where.
    pub opening: Opening,
    /// What its messages look like.
    pub spec: Arc<Spec>,
    /// Where they end.
    pub framing: Framing,
    /// Bytes between length and message.
    pub header: Vec<u8>,
}

/// What an element is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text with placeholders.
    Text(String),
    /// Sub-elements by tag or part name, with placeholders.
    Subs(Vec<(String, String)>),
}

/// A message template.
#[derive(Debug, Clone)]
pub struct Template {
    /// The message type.
    pub mti: Mti,
    /// Elements by number.
    pub fields: BTreeMap<u8, Value>,
}

/// What is done wrong on purpose.
#[derive(Debug, Clone, Default)]
pub struct Fault {
    /// Cut each frame before these bytes into writes of their own.
    pub split: Vec<usize>,
    /// One byte a write.
    pub split_every: bool,
    /// Wait between such writes.
    pub pause: Duration,
    /// All frames of the step in one write.
    pub coalesce: bool,
    /// Frames of the step in an order that the seed draws.
    pub shuffle: bool,
    /// Added to the announced length.
    pub length: i64,
    /// Only so many bytes of the frame.
    pub half: Option<usize>,
    /// Close the connection after what was sent.
    pub disconnect: bool,
    /// Send the same frame so many times more.
    pub duplicate: u32,
}

/// What an element of a reply must be.
#[derive(Debug, Clone)]
pub enum Check {
    /// This, after placeholders.
    Equal(String),
    /// There, whatever it is.
    Present,
    /// Not there.
    Absent,
    /// As the request had it.
    Same,
    /// All of it fits.
    Pattern(Regex),
}

/// What must come back.
#[derive(Debug, Clone)]
pub struct Expect {
    /// Its type; the request's response when left out.
    pub mti: Option<Mti>,
    /// How long it is waited for.
    pub within: Duration,
    /// Nothing may come.
    pub none: bool,
    /// The engine must close the connection.
    pub closed: bool,
    /// Elements.
    pub fields: BTreeMap<u8, Check>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Act {
    /// Sends messages of a template.
    Send(Template),
    /// Sends a message as it was captured.
    Message(Vec<u8>),
    /// Sends bytes as they are, without a frame.
    Bytes(Vec<u8>),
    /// Sends the same message that was kept under that name.
    Again(String),
    /// Waits for a message that the engine begins, and may answer it.
    Receive(Expect, Option<Template>),
    /// Only waits, for its think time or for replies that were not awaited.
    Wait,
}

/// One step.
#[derive(Debug, Clone)]
pub struct Step {
    /// For people.
    pub name: String,
    /// Place in the scenario's links.
    pub link: usize,
    /// What it does.
    pub act: Act,
    /// How often.
    pub repeat: u32,
    /// Waits so long before, drawn between the two.
    pub think: (Duration, Duration),
    /// Keeps request and reply under this name.
    pub keep: Option<String>,
    /// Whether the reply is waited for now; else at a later `collect` or at the end.
    pub awaited: bool,
    /// Waits for all replies that were not awaited so far.
    pub collect: bool,
    /// What is done wrong.
    pub fault: Fault,
    /// What must come back.
    pub expect: Option<Expect>,
}

/// A scenario that makes sense.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// For people.
    pub title: String,
    /// At least one.
    pub links: Vec<Link>,
    /// What REST makes first.
    pub setup: Option<SetupFile>,
    /// Placeholders of its own.
    pub vars: BTreeMap<String, String>,
    /// In order.
    pub steps: Vec<Step>,
}

/// Reads the text of a scenario file.
///
/// # Errors
/// Line and reason.
pub fn read(text: &str) -> Result<Scenario, Unreadable> {
    let line_of = |at: usize| text.get(..at).map_or(0, |before| before.matches('\n').count() + 1);
    let file: File = toml::from_str(text).map_err(|error| Unreadable {
        line: error.span().map_or(0, |span| line_of(span.start)),
        reason: error.message().replace('\n', "; "),
    })?;
    let at = |span: std::ops::Range<usize>, reason: String| Unreadable { line: line_of(span.start), reason };
    let mut links: Vec<Link> = Vec::new();
    for spanned in &file.links {
        let link = link(spanned.get_ref()).map_err(|reason| at(spanned.span(), reason))?;
        if links.iter().any(|known| known.name == link.name) {
            return Err(at(spanned.span(), format!("link {:?} stands twice; names differ", link.name)));
        }
        links.push(link);
    }
    if links.is_empty() {
        return Err(Unreadable { line: 1, reason: "no [[link]]; a scenario needs one".to_owned() });
    }
    for (name, spanned) in &file.template {
        template(&file.template, name, 0).map_err(|reason| at(spanned.span(), reason))?;
    }
    let mut steps = Vec::with_capacity(file.steps.len());
    for (number, spanned) in (1..).zip(&file.steps) {
        let step = step(spanned.get_ref(), number, &links, &file.template);
        steps.push(step.map_err(|reason| at(spanned.span(), format!("step {number}: {reason}")))?);
    }
    if steps.is_empty() {
        return Err(Unreadable { line: 1, reason: "no [[step]]; a scenario needs one".to_owned() });
    }
    Ok(Scenario { name: file.name, title: file.title, links, setup: file.setup, vars: file.vars, steps })
}

fn link(file: &LinkFile) -> Result<Link, String> {
    let opening = match (&file.connect, &file.listen) {
        (Some(at), None) => Opening::Connect(at.clone()),
        (None, Some(at)) => Opening::Listen(at.clone()),
        _ => return Err(format!("link {:?} needs either `connect` or `listen`", file.name)),
    };
    let spec = load_spec(&file.spec).map_err(|failure| failure.message)?;
    let width = Width::parse(&file.framing)
        .ok_or_else(|| format!("framing {:?}: len2be, len2le, len4be or len4ascii", file.framing))?;
    let header = bytes_of(&file.header)?;
    let framing = Framing { width, inclusive: file.inclusive, header_bytes: header.len() };
    Ok(Link { name: file.name.clone(), opening, spec, framing, header })
}

fn mti(text: &str) -> Result<Mti, String> {
    Mti::parse(text).ok_or_else(|| format!("mti {text:?}: four digits"))
}

fn element(key: &str) -> Result<u8, String> {
    key.parse().ok().filter(|number| *number > 1).ok_or_else(|| format!("element {key:?}: a number from 2 up"))
}

/// Templates may stand on each other, but not in a circle.
fn template(all: &BTreeMap<String, Spanned<TemplateFile>>, name: &str, depth: usize) -> Result<Template, String> {
    let file = all.get(name).ok_or_else(|| format!("no [template.{name}]"))?.get_ref();
    if depth > MOST_BASES {
        return Err(format!("template {name:?} stands on itself, or on more than {MOST_BASES} others"));
    }
    let mut fields = match &file.base {
        Some(base) => template(all, base, depth + 1)?.fields,
        None => BTreeMap::new(),
    };
    set(&mut fields, &file.fields)?;
    Ok(Template { mti: mti(&file.mti)?, fields })
}

fn set(fields: &mut BTreeMap<u8, Value>, with: &BTreeMap<String, ValueFile>) -> Result<(), String> {
    for (key, value) in with {
        let number = element(key)?;
        match value {
            ValueFile::Text(text) => fields.insert(number, Value::Text(text.clone())),
            ValueFile::Out(false) => fields.remove(&number),
            ValueFile::Out(true) => return Err(format!("element {key}: text, a table, or false to leave it out")),
            ValueFile::Subs(table) => {
                let subs = table
                    .iter()
                    .map(|(tag, value)| match value.as_str() {
                        Some(text) => Ok((tag.clone(), text.to_owned())),
                        None => Err(format!("element {key}.{tag}: text")),
                    })
                    .collect::<Result<_, _>>()?;
                fields.insert(number, Value::Subs(subs))
            }
        };
    }
    Ok(())
}

fn step(
    file: &StepFile,
    number: usize,
    links: &[Link],
    templates: &BTreeMap<String, Spanned<TemplateFile>>,
) -> Result<Step, String> {
    let place = match &file.link {
        None => 0,
        Some(name) => links.iter().position(|link| link.name == *name).ok_or_else(|| format!("no link {name:?}"))?,
    };
    let acts = [file.send.is_some(), file.bytes.is_some(), file.again.is_some(), file.receive.is_some()];
    if acts.iter().filter(|has| **has).count() > 1 {
        return Err("only one of `send`, `bytes`, `again` and `receive`".to_owned());
    }
    let act = if let Some(name) = &file.send {
        let mut template = template(templates, name, 0)?;
        set(&mut template.fields, &file.fields)?;
        if let Some(text) = &file.mti {
            template.mti = mti(text)?;
        }
        Act::Send(template)
    } else if let Some(hex) = &file.bytes {
        Act::Bytes(bytes_of(hex)?)
    } else if let Some(name) = &file.again {
        Act::Again(name.clone())
    } else if let Some(receive) = &file.receive {
        let answer = file.answer.as_ref().map(|name| template(templates, name, 0)).transpose()?;
        Act::Receive(expect(receive)?, answer)
    } else {
        Act::Wait
    };
    if file.answer.is_some() && file.receive.is_none() {
        return Err("`answer` goes with `receive`".to_owned());
    }
    if !(1..=MOST_REPEATS).contains(&file.repeat) {
        return Err(format!("repeat is 1 to {MOST_REPEATS}"));
    }
    let think = match &file.think {
        None => (Duration::ZERO, Duration::ZERO),
        Some(ThinkFile::Always(text)) => (wait(text)?, wait(text)?),
        Some(ThinkFile::Between([from, to])) => (wait(from)?, wait(to)?),
    };
    if think.0 > think.1 {
        return Err("think: the shorter time first".to_owned());
    }
    let expect = file.expect.as_ref().map(expect).transpose()?;
    let name = file.name.clone().or_else(|| file.send.clone()).unwrap_or_else(|| format!("step {number}"));
    Ok(Step {
        name,
        link: place,
        act,
        repeat: file.repeat,
        think,
        keep: file.keep.clone(),
        awaited: file.awaited,
        collect: file.collect,
        fault: fault(&file.fault)?,
        expect,
    })
}

fn fault(file: &FaultFile) -> Result<Fault, String> {
    let (split, split_every) = match &file.split {
        None => (Vec::new(), false),
        Some(SplitFile::At(places)) => (places.clone(), false),
        Some(SplitFile::Every(word)) if word == "every" => (Vec::new(), true),
        Some(SplitFile::Every(word)) => return Err(format!("split {word:?}: a list of offsets, or \"every\"")),
    };
    if file.duplicate > 1000 {
        return Err("duplicate is at most 1000".to_owned());
    }
    Ok(Fault {
        split,
        split_every,
        pause: file.pause.as_deref().map_or(Ok(Duration::ZERO), wait)?,
        coalesce: file.coalesce,
        shuffle: file.shuffle,
        length: file.length.unwrap_or(0),
        half: file.half,
        disconnect: file.disconnect,
        duplicate: file.duplicate,
    })
}

fn expect(file: &ExpectFile) -> Result<Expect, String> {
    let mut fields = BTreeMap::new();
    for (key, check) in &file.fields {
        let check = match check {
            CheckFile::Equal(text) => Check::Equal(text.clone()),
            CheckFile::Rule(RuleFile { present: Some(true), absent: None, same: None, pattern: None }) => {
                Check::Present
            }
            CheckFile::Rule(RuleFile { present: None, absent: Some(true), same: None, pattern: None }) => Check::Absent,
            CheckFile::Rule(RuleFile { present: None, absent: None, same: Some(true), pattern: None }) => Check::Same,
            CheckFile::Rule(RuleFile { present: None, absent: None, same: None, pattern: Some(pattern) }) => {
                let whole = format!("^(?:{pattern})$");
                Check::Pattern(Regex::new(&whole).map_err(|error| format!("element {key}: {error}"))?)
            }
            CheckFile::Rule(_) => {
                let words = "text, or one of present = true, absent = true, same = true, pattern = \"…\"";
                return Err(format!("element {key}: {words}"));
            }
        };
        fields.insert(element(key)?, check);
    }
    if (file.none || file.closed) && (file.mti.is_some() || !fields.is_empty()) {
        return Err("`none` and `closed` have no message to look into".to_owned());
    }
    Ok(Expect {
        mti: file.mti.as_deref().map(mti).transpose()?,
        within: file.within.as_deref().map_or(Ok(PATIENCE), wait)?,
        none: file.none,
        closed: file.closed,
        fields,
    })
}

fn wait(text: &str) -> Result<Duration, String> {
    let wait = humantime::parse_duration(text).map_err(|error| format!("{text:?}: {error}"))?;
    if wait > LONGEST_WAIT { Err(format!("{text:?}: at most {}s", LONGEST_WAIT.as_secs())) } else { Ok(wait) }
}

/// Hexadecimal digits, blanks between them allowed.
pub fn bytes_of(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).ok_or_else(|| "hexadecimal digits alone".to_owned()))
        .collect::<Result<_, _>>()?;
    if digits.len() % 2 == 1 {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    Ok(digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | (*digit & 0xF) as u8)).collect())
}

/// Whether a file is a scenario, by its name; anything else is taken for a capture.
pub fn is_scenario(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml"))
}
