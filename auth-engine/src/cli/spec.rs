//! `auth-engine spec`: list, show and check message specs; and the one way in which every command finds a spec by name
//! or path. It must never hold a rule about messages: `iso-codec` has them.

use super::decode::FramingArgs;
use super::{Failure, Outcome, dissector};
use iso_codec::{ClassSpec, FieldSpec, Layout, PartLength, Prefix, Secret, Spec, TaggedLayout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `auth-engine spec`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine spec list\n  auth-engine spec show mastercard\n  auth-engine spec show mastercard --toml > own.toml\n  auth-engine spec check own.toml\n  auth-engine spec import packager.xml --report lost.txt > own.toml\n  auth-engine spec dissector mastercard > mastercard.lua"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The specs that are built in
    #[command(after_help = "Example:\n  auth-engine spec list --json")]
    List {
        /// JSON for machines instead of a table
        #[arg(long)]
        json: bool,
    },
    /// A spec, element by element
    #[command(
        after_help = "Example:\n  auth-engine spec show mastercard\n  auth-engine spec show mastercard --toml > own.toml    a start for a spec of one's own"
    )]
    Show {
        /// A built-in name or a file
        #[arg(value_name = "NAME|FILE")]
        spec: String,
        /// JSON for machines instead of a table
        #[arg(long, conflicts_with = "toml")]
        json: bool,
        /// The spec file itself, to copy and change
        #[arg(long)]
        toml: bool,
    },
    /// Say whether a spec file can be used; exit 1 when not
    #[command(after_help = "Example:\n  auth-engine spec check own.toml")]
    Check {
        /// The spec file (TOML)
        #[arg(value_name = "FILE")]
        file: String,
    },
    /// A jPOS packager (XML), a moov spec (JSON) or an iso8583_rs spec (YAML) as a spec file; exit 1 when something is lost
    Import(super::spec_import::ImportArgs),
    /// A spec as a jPOS packager (XML) or a moov spec (JSON); exit 1 when something is lost
    Export(super::spec_import::ExportArgs),
    /// A Wireshark dissector (Lua) made from a spec
    #[command(
        after_help = "Example:\n  auth-engine spec dissector mastercard --tcp-port 8583 > mastercard.lua\n  tshark -X lua_script:mastercard.lua -r link.pcap -V"
    )]
    Dissector {
        /// A built-in name or a file
        #[arg(value_name = "NAME|FILE")]
        spec: String,
        /// The link's TCP port; a preference in Wireshark as well
        #[arg(long, value_name = "P", default_value_t = 8583)]
        tcp_port: u16,
        #[command(flatten)]
        framing: FramingArgs,
    },
}

/// Runs the command.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: Args) -> Outcome {
    match args.command {
        Command::List { json } => list(json),
        Command::Show { spec, json, toml } => show(&spec, json, toml),
        Command::Import(args) => super::spec_import::import(&args),
        Command::Export(args) => super::spec_import::export(&args),
        Command::Dissector { spec, tcp_port, framing } => {
            let spec = load_spec(&spec)?;
            print!("{}", dissector::lua(&spec, framing.framing().unwrap_or_default(), tcp_port));
            Ok(ExitCode::SUCCESS)
        }
        Command::Check { file } => {
            let text = read_spec_file(&file)?;
            let spec = Spec::from_toml(&text).map_err(|error| Failure::no(format!("spec {file}: {error}")))?;
            println!("ok: spec {}, {} elements", spec.name(), spec.fields().count());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The spec of that built-in name, else the one in the file of that path.
///
/// # Errors
/// Exit code 2: neither, not readable, or a spec that contradicts itself.
pub fn load_spec(name: &str) -> Result<Arc<Spec>, Failure> {
    if let Some(spec) = Spec::embedded(name) {
        return Ok(spec);
    }
    let text = read_spec_file(name)?;
    Spec::from_toml(&text).map(Arc::new).map_err(|error| Failure::usage(format!("spec {name}: {error}")))
}

pub(super) fn read_spec_file(name: &str) -> Result<String, Failure> {
    std::fs::read_to_string(Path::new(name)).map_err(|error| {
        let known = Spec::embedded_names().join(", ");
        Failure::usage(format!("spec {name}: no built-in spec ({known}) and no readable file ({error})"))
    })
}

fn list(json: bool) -> Outcome {
    let specs = Spec::embedded_names().iter().filter_map(|name| Spec::embedded(name));
    if json {
        let rows: Vec<serde_json::Value> = specs
            .map(|spec| {
                serde_json::json!({"name": spec.name(), "title": spec.title(), "charset": spec.charset().name(),
                    "elements": spec.fields().count()})
            })
            .collect();
        println!("{}", serde_json::Value::Array(rows));
        return Ok(ExitCode::SUCCESS);
    }
    for spec in specs {
        println!("{:15}  {}", spec.name(), spec.title());
    }
    Ok(ExitCode::SUCCESS)
}

fn show(name: &str, json: bool, toml: bool) -> Outcome {
    if toml {
        match Spec::embedded_text(name) {
            Some(text) => print!("{text}"),
            None => print!("{}", read_spec_file(name)?),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let spec = load_spec(name)?;
    if json {
        let fields: Vec<serde_json::Value> = spec
            .fields()
            .map(|field| {
                let parts: Vec<serde_json::Value> = parts(field)
                    .into_iter()
                    .map(|part| serde_json::json!({"id": part.id, "name": part.name, "form": part.form}))
                    .collect();
                serde_json::json!({"number": field.number, "name": field.name, "form": field.form(),
                    "masked": field.secret.is_some(), "parts": parts})
            })
            .collect();
        println!(
            "{}",
            serde_json::json!({"name": spec.name(), "title": spec.title(), "charset": spec.charset().name(),
                "fields": fields})
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}: {} (text {})", spec.name(), spec.title(), spec.charset().name());
    for field in spec.fields() {
        println!("DE{:<6}{:<11}{}{}", field.number, field.form(), field.name, masked(field.secret));
        for part in parts(field) {
            println!("  {:<6}{:<11}  {}{}", part.id, part.form, part.name, masked(part.secret));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn masked(secret: Option<Secret>) -> &'static str {
    if secret.is_some() { " (masked)" } else { "" }
}

/// One line about a part of a composite.
struct PartLine {
    id: String,
    form: String,
    name: String,
    secret: Option<Secret>,
}

/// The one letter before the sub-elements.
fn class_line(class: &ClassSpec) -> PartLine {
    PartLine { id: class.id.clone(), form: "a1".to_owned(), name: class.name.clone(), secret: None }
}

fn parts(field: &FieldSpec) -> Vec<PartLine> {
    match &field.layout {
        Layout::Plain => Vec::new(),
        Layout::Tagged(layout) => {
            let subs = layout.subs.iter().map(|(tag, sub)| PartLine {
                id: tag.clone(),
                form: format!("{}{:.<dots$}{}", sub.kind.letters(), "", most(layout), dots = dots(layout)),
                name: sub.name.clone(),
                secret: sub.secret,
            });
            layout.class.iter().map(class_line).chain(subs).collect()
        }
        Layout::Parts(parts) | Layout::Repeat(parts) => parts
            .iter()
            .map(|part| PartLine {
                id: String::new(),
                form: match part.length {
                    PartLength::Fixed(len) => len.to_string(),
                    PartLength::Variable { digits, max } => format!("{:.<dots$}{max}", "", dots = usize::from(digits)),
                    PartLength::Rest => "rest".to_owned(),
                },
                name: format!("{} ({})", part.title, part.name),
                secret: part.secret,
            })
            .collect(),
        Layout::Tlv(layout) => {
            let subs = layout.subs.iter().map(|(tag, sub)| PartLine {
                id: format!("{tag:02X}"),
                form: sub.kind.letters().to_owned(),
                name: sub.name.clone(),
                secret: sub.secret,
            });
            layout.class.iter().map(class_line).chain(subs).collect()
        }
        Layout::Datasets(known) => known
            .iter()
            .map(|(id, set)| PartLine {
                id: format!("{id:02X}"),
                form: "dataset".to_owned(),
                name: set.name.clone(),
                secret: None,
            })
            .collect(),
        Layout::Bitmapped(layout) => layout
            .fields
            .iter()
            .map(|(bit, sub)| PartLine {
                id: bit.to_string(),
                form: sub.kind.letters().to_owned(),
                name: sub.name.clone(),
                secret: sub.secret,
            })
            .collect(),
    }
}

/// Dots of a tag's length.
fn dots(layout: &TaggedLayout) -> usize {
    usize::from(layout.length.digits)
}

/// The longest data that a tag's length can say.
fn most(layout: &TaggedLayout) -> u64 {
    let base: u64 = match layout.length.prefix {
        Prefix::Text(_) | Prefix::Bcd => 10,
        Prefix::Binary | Prefix::Hex(_) => 256,
    };
    base.pow(u32::from(layout.length.digits)) - 1
}
