//! From text by path to the typed configuration: unknown keys, values, and what must hold between values.
//!
//! It collects every problem instead of stopping at the first. It must never touch the file system.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use iso_codec::{Framing, Spec, Width};
use rust_decimal::Decimal;

use super::keys::{self, Kind};
use super::layers::{Leaf, Origin, place};
use super::{
    AuthorizationConfig, Config, ConfigError, FxConfig, IssuingConfig, JournalConfig, KeysConfig, LinkConfig, Opening,
    PartnerConfig, Problem, RestConfig, Setting, SwitchConfig, TelemetryConfig, values,
};

/// Bytes of a TPDU: an id and two addresses of two bytes.
const TPDU_BYTES: usize = 5;
/// Smallest unit of the journal: its blocks start at multiples of it.
const PAGE: u64 = 4096;

/// Checks all values and builds the configuration.
pub(super) fn build(leaves: BTreeMap<String, Leaf>) -> Result<Config, ConfigError> {
    let mut reader = Reader { leaves, problems: Vec::new(), settings: Vec::new() };
    reader.refuse_unknown();
    let config = reader.config();
    match (config, reader.problems.is_empty()) {
        (Some(mut config), true) => {
            config.settings = reader.settings;
            Ok(config)
        }
        (_, _) => Err(ConfigError { problems: reader.problems }),
    }
}

struct Reader {
    leaves: BTreeMap<String, Leaf>,
    problems: Vec<Problem>,
    settings: Vec<Setting>,
}

impl Reader {
    fn refuse_unknown(&mut self) {
        for (path, leaf) in &self.leaves {
            let pattern = keys::pattern(path);
            let at = place(path, &leaf.origin);
            let inside_amounts = path.strip_prefix("fx.max_position.").is_some_and(|rest| !rest.contains('.'));
            match keys::find(path) {
                Some(key) if key.kind != Kind::Amounts => {}
                Some(_) => {
                    self.problems.push(Problem::new(at, "is a table; write `max_position = { EUR = \"1000\" }`"))
                }
                None if inside_amounts => {}
                None => {
                    let section = format!("{pattern}.");
                    let what = if keys::KEYS.iter().any(|key| key.name.starts_with(&section)) {
                        "is a section; set the keys inside it".to_owned()
                    } else {
                        let hint = keys::nearest(path).map(|name| format!("; did you mean `{name}`?"));
                        format!(
                            "unknown key{}",
                            hint.unwrap_or_else(|| { "; `auth-engine config show` lists the known ones".to_owned() })
                        )
                    };
                    self.problems.push(Problem::new(at, what));
                }
            }
        }
    }

    /// The text that holds for a key and where it comes from; a default of the table when nothing sets it.
    fn leaf(&mut self, path: &str) -> Option<Leaf> {
        let default = || keys::find(path).and_then(|key| key.default);
        let leaf = self
            .leaves
            .get(path)
            .cloned()
            .or_else(|| default().map(|text| Leaf { text: text.to_owned(), origin: Origin::Default }));
        match leaf {
            Some(leaf) => {
                self.settings.push(Setting {
                    key: path.to_owned(),
                    value: leaf.text.clone(),
                    origin: leaf.origin.clone(),
                });
                Some(leaf)
            }
            None => {
                self.problems.push(Problem::new(path.to_owned(), "is missing; set it"));
                None
            }
        }
    }

    /// Sets what holds when nothing else sets a key whose default depends on other keys.
    fn leaf_default(&mut self, path: &str, default: &str) {
        let leaf = || Leaf { text: default.to_owned(), origin: Origin::Default };
        self.leaves.entry(path.to_owned()).or_insert_with(leaf);
    }

    /// Notes a problem of a key where its value was set.
    fn object(&mut self, path: &str, what: impl Into<String>) {
        let at = self.leaves.get(path).map_or_else(|| path.to_owned(), |leaf| place(path, &leaf.origin));
        self.problems.push(Problem::new(at, what));
    }

    fn read<T>(&mut self, path: &str, parse: impl FnOnce(&str, Kind) -> Option<Result<T, String>>) -> Option<T> {
        let leaf = self.leaf(path)?;
        let kind = keys::find(path).map(|key| key.kind)?;
        match parse(&leaf.text, kind)? {
            Ok(value) => Some(value),
            Err(what) => {
                self.object(path, what);
                None
            }
        }
    }

    fn text(&mut self, path: &str) -> Option<String> {
        self.read(path, |text, _| Some(Ok(text.to_owned())))
    }

    fn switch(&mut self, path: &str) -> Option<bool> {
        self.read(path, |text, _| Some(values::switch(text)))
    }

    fn span(&mut self, path: &str) -> Option<Duration> {
        self.read(path, |text, kind| match kind {
            Kind::Span(least, most) => Some(values::span(text, least, most)),
            _ => None,
        })
    }

    /// A whole number or a size in bytes.
    fn number(&mut self, path: &str) -> Option<u64> {
        self.read(path, |text, kind| match kind {
            Kind::Whole(least, most) => Some(values::whole(text, least, most)),
            Kind::Size(least, most) => Some(values::size(text, least, most)),
            _ => None,
        })
    }

    fn count(&mut self, path: &str) -> Option<usize> {
        self.number(path).and_then(|n| usize::try_from(n).ok())
    }

    fn address(&mut self, path: &str) -> Option<std::net::SocketAddr> {
        self.read(path, |text, _| Some(values::address(text)))
    }

    fn config(&mut self) -> Option<Config> {
        // Read everything before the first `?`, so that one run names every problem.
        let data_dir = self.text("data_dir");
        let sandbox = self.switch("sandbox");
        let drain_timeout = self.span("drain_timeout");
        let at_links = self.settings.len();
        let rest = self.address("rest.listen");
        let master_file = self.text("keys.master_file");
        let journal = self.journal();
        let authorization =
            (self.span("authorization.hold_lifetime"), self.span("authorization.preauthorization_lifetime"));
        let partner = (self.span("partner.decision_timeout"), self.count("partner.max_connections"));
        let fx = self.fx();
        let bin = self.bin();
        let switch =
            (self.count("switch.max_connections"), self.count("switch.out_buffer"), self.switch("switch.realtime"));
        let processor = self.processor();
        let traces = self.number("telemetry.traces");
        let after_links = self.settings.split_off(at_links);
        let links = self.links(switch.0, switch.1);
        self.settings.extend(after_links);

        let data_dir = self.directory("data_dir", data_dir?)?;
        let sandbox = sandbox?;
        let keys = KeysConfig { master_file: self.master_file(&data_dir, sandbox, &master_file?)? };
        Some(Config {
            data_dir,
            sandbox,
            drain_timeout: drain_timeout?,
            links: links?,
            rest: RestConfig { listen: rest? },
            keys,
            journal: journal?,
            authorization: AuthorizationConfig {
                hold_lifetime: authorization.0?,
                preauthorization_lifetime: authorization.1?,
            },
            partner: PartnerConfig { decision_timeout: partner.0?, max_connections: partner.1? },
            fx: FxConfig { max_position: fx },
            issuing: IssuingConfig { bin: bin? },
            switch: SwitchConfig {
                max_connections: switch.0?,
                out_buffer: switch.1?,
                realtime: switch.2?,
                processor: processor?,
            },
            telemetry: TelemetryConfig { traces: traces? },
            settings: Vec::new(),
        })
    }

    fn directory(&mut self, path: &str, text: String) -> Option<PathBuf> {
        if text.is_empty() {
            self.object(path, "is empty; name a directory");
            return None;
        }
        Some(PathBuf::from(text))
    }

    /// None when no processor is named.
    fn processor(&mut self) -> Option<Option<usize>> {
        self.read("switch.processor", |text, _| {
            let named = Some(text).filter(|text| !text.is_empty());
            Some(named.map(|text| values::whole(text, 0, 4095)).transpose())
        })
        .map(|named| named.and_then(|at| usize::try_from(at).ok()))
    }

    fn master_file(&mut self, data_dir: &Path, sandbox: bool, text: &str) -> Option<PathBuf> {
        const KEY: &str = "keys.master_file";
        if text.is_empty() {
            self.object(KEY, "is empty; name a file");
            return None;
        }
        if sandbox {
            return Some(data_dir.join(text));
        }
        // A key that is copied along with the data it opens protects nothing.
        if plain(Path::new(text)).starts_with(plain(data_dir)) {
            self.object(KEY, "lies inside data_dir; outside the sandbox the master key must be kept elsewhere");
            return None;
        }
        Some(PathBuf::from(text))
    }

    fn journal(&mut self) -> Option<JournalConfig> {
        let segment = self.number("journal.segment");
        let archive = self.text("journal.archive_dir");
        let recovery_time = self.span("journal.recovery_time");
        let dedup_window = self.span("journal.dedup_window");
        let dedup_max = self.number("journal.dedup_max");
        let max_batch = self.number("journal.max_batch");
        let checkpoint_interval = self.span("journal.checkpoint_interval");
        let (segment, max_batch) = (segment?, max_batch?);
        for (path, bytes) in [("journal.segment", segment), ("journal.max_batch", max_batch)] {
            if !bytes.is_multiple_of(PAGE) {
                self.object(path, "is not a multiple of 4KiB; the journal is written in pages of 4KiB");
            }
        }
        if max_batch > segment / 4 {
            self.object(
                "journal.max_batch",
                "is more than a quarter of journal.segment; lower it or raise the segment",
            );
        }
        Some(JournalConfig {
            segment,
            archive_dir: archive.filter(|text| !text.is_empty()).map(PathBuf::from),
            recovery_time: recovery_time?,
            dedup_window: dedup_window?,
            dedup_max: dedup_max?,
            max_batch,
            checkpoint_interval: checkpoint_interval?,
        })
    }

    fn fx(&mut self) -> BTreeMap<String, Decimal> {
        const TABLE: &str = "fx.max_position.";
        let mut limits = BTreeMap::new();
        let entries: Vec<(String, Leaf)> = self
            .leaves
            .iter()
            .filter(|(path, _)| path.starts_with(TABLE))
            .map(|(p, l)| (p.clone(), l.clone()))
            .collect();
        for (path, leaf) in entries {
            let currency = path.trim_start_matches(TABLE).to_uppercase();
            let named = (3..=5).contains(&currency.len()) && currency.bytes().all(|b| b.is_ascii_alphanumeric());
            match Decimal::from_str(&leaf.text) {
                _ if !named => self.object(&path, "is no currency code; write it like EUR or USDC"),
                Ok(limit) if !limit.is_sign_negative() => {
                    limits.insert(currency, limit);
                }
                Ok(_) | Err(_) => {
                    self.object(&path, format!("{:?} is not an amount; write it like \"1000000.00\"", leaf.text));
                }
            }
            self.settings.push(Setting { key: path, value: leaf.text, origin: leaf.origin });
        }
        limits
    }

    fn bin(&mut self) -> Option<String> {
        let bin = self.text("issuing.bin")?;
        if (6..=11).contains(&bin.len()) && bin.bytes().all(|b| b.is_ascii_digit()) {
            return Some(bin);
        }
        self.object("issuing.bin", format!("{bin:?} is no BIN; give 6 to 11 digits"));
        None
    }

    fn links(&mut self, max_connections: Option<usize>, out_buffer: Option<usize>) -> Option<Vec<LinkConfig>> {
        let numbers: BTreeSet<usize> =
            self.leaves.keys().filter_map(|path| path.strip_prefix("link.")?.split('.').next()?.parse().ok()).collect();
        let mut links: Vec<LinkConfig> = Vec::new();
        let mut whole = true;
        for (expected, number) in numbers.into_iter().enumerate() {
            if expected != number {
                let path = format!("link.{number}");
                let what = format!("there is no link {expected} before it; links are numbered from 0 without gaps");
                self.problems.push(Problem::new(path, what));
                return None;
            }
            let Some(link) = self.link(number, max_connections, out_buffer) else {
                whole = false;
                continue;
            };
            for earlier in &links {
                if earlier.name == link.name {
                    self.object(&format!("link.{number}.name"), format!("{:?} is taken by another link", link.name));
                }
                if let (Opening::Listen(before), Opening::Listen(listen)) = (&earlier.opening, &link.opening)
                    && before == listen
                    && listen.port() != 0
                {
                    self.object(
                        &format!("link.{number}.listen"),
                        format!("{listen} is taken by link {:?}", earlier.name),
                    );
                }
            }
            links.push(link);
        }
        if whole && links.is_empty() {
            self.problems
                .push(Problem::new("link".to_owned(), "there is none; write `[[link]]` with `name` and `listen`"));
        }
        whole.then_some(links)
    }

    /// Who opens the connections: one of the two keys, not both.
    fn opening(&mut self, listen: &str, connect: &str) -> Option<Opening> {
        match (self.leaves.contains_key(listen), self.leaves.contains_key(connect)) {
            (true, false) => self.address(listen).map(Opening::Listen),
            (false, true) => self.read(connect, |text, _| Some(values::target(text))).map(Opening::Connect),
            (true, true) => {
                self.object(connect, "stands beside `listen`; a link does one of both: keep one");
                None
            }
            (false, false) => {
                self.object(listen, "is missing; set it, or `connect = \"host:port\"` to connect out");
                None
            }
        }
    }

    fn link(&mut self, number: usize, max_connections: Option<usize>, out_buffer: Option<usize>) -> Option<LinkConfig> {
        let at = |name: &str| format!("link.{number}.{name}");
        let name = self.text(&at("name"));
        let opening = self.opening(&at("listen"), &at("connect"));
        let spec = self.read(&at("spec"), |text, _| Some(spec_name(text)));
        let width = self.read(&at("framing"), |text, _| {
            let known = |word: &str| Width::parse(word).ok_or_else(|| format!("{word:?} is not known to the codec"));
            Some(values::word(text, keys::FRAMINGS).and_then(known))
        });
        let inclusive = self.switch(&at("inclusive"));
        let header_bytes = self.count(&at("header_bytes"));
        let tpdu = self.switch(&at("tpdu"));
        if let (Some(true), Some(bytes)) = (tpdu, header_bytes)
            && bytes != TPDU_BYTES
        {
            self.object(&at("tpdu"), format!("a TPDU has {TPDU_BYTES} bytes; set header_bytes = {TPDU_BYTES}"));
        }
        let budget = self.span(&at("budget"));
        let require_sign_on = self.switch(&at("require_sign_on"));
        let sign_on = self.switch(&at("sign_on"));
        let connects = matches!(opening, Some(Opening::Connect(_)));
        self.leaf_default(&at("echo_interval"), if connects { keys::ECHO_WHEN_CONNECTING } else { "0s" });
        let echo_interval = self.span(&at("echo_interval"));
        let echo_timeout = self.span(&at("echo_timeout"));
        let max_frame = self.count(&at("max_frame"));
        let max_in_flight = self.count(&at("max_in_flight"));
        let frame_timeout = self.span(&at("frame_timeout"));
        let idle_timeout = self.span(&at("idle_timeout"));
        if let (Some(header), Some(max)) = (header_bytes, max_frame)
            && header >= max
        {
            self.object(&at("header_bytes"), "leaves no room for a message; max_frame counts the header too");
        }
        let name = name?;
        let plain_name = !name.is_empty()
            && name.len() <= 64
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if !plain_name {
            self.object(&at("name"), format!("{name:?} is no link name; use up to 64 of a-z, A-Z, 0-9, `-`, `_`, `.`"));
        }
        Some(LinkConfig {
            name,
            opening: opening?,
            spec: spec?,
            framing: Framing { width: width?, inclusive: inclusive?, header_bytes: header_bytes? },
            budget: budget?,
            tpdu: tpdu?,
            require_sign_on: require_sign_on?,
            sign_on: sign_on?,
            echo_interval: echo_interval.map(|span| (!span.is_zero()).then_some(span))?,
            echo_timeout: echo_timeout?,
            max_frame: max_frame?,
            max_in_flight: max_in_flight?,
            frame_timeout: frame_timeout?,
            idle_timeout: idle_timeout?,
            max_connections: max_connections?,
            out_buffer: out_buffer?,
        })
    }
}

/// An embedded spec by its name, or what looks like the path of a spec file; the file is read when it is used.
fn spec_name(text: &str) -> Result<String, String> {
    if text.contains(['/', '.']) {
        return Ok(text.to_owned());
    }
    values::word(text, Spec::embedded_names())
        .map(str::to_owned)
        .map_err(|error| format!("{error}; a spec file is named with its path, such as \"./specs/own.toml\""))
}

/// A path without `.` and `x/..`, absolute as far as the working directory is known: enough to compare two.
fn plain(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            part @ (Component::Normal(_) | Component::RootDir | Component::Prefix(_)) => plain.push(part),
        }
    }
    plain
}
