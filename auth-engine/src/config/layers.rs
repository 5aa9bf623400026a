//! Where values come from: the built-in defaults, one TOML file, the environment, flags; later ones win.
//!
//! figment merges them and remembers the origin of each value. This file must never interpret a value: it
//! hands out text with an origin.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};

use super::{Problem, keys};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// Built in.
    Default,
    /// The configuration file, as named on the command line.
    File {
        /// The file's path as given.
        path: PathBuf,
    },
    /// An environment variable.
    Env {
        /// The variable's name as set.
        variable: String,
    },
    /// A command line flag.
    Flag {
        /// The flag, such as `--data`.
        flag: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path } => write!(f, "{}", path.display()),
            Self::Env { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => write!(f, "flag {flag}"),
        }
    }
}

/// Text of a value and where it comes from. The path is the key: `rest.listen`, `link.0.name`.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) text: String,
    pub(super) origin: Origin,
}

/// Prefix of every environment variable that sets a key.
const ENV_PREFIX: &str = "AUTH_ENGINE__";

const FLAG: &str = "flag";
const ENV: &str = "env";
const DEFAULT: &str = "default";

/// One source of values for figment, with the origin in its metadata.
struct Layer {
    metadata: Metadata,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

impl Layer {
    /// One value at a dotted path.
    fn single(kind: &'static str, source: &str, path: &str, text: &str) -> Self {
        let value =
            path.rsplit('.').fold(Value::from(text), |inner, part| Value::from(Dict::from([(part.to_owned(), inner)])));
        let metadata = Metadata::named(kind).source(Source::Custom(source.to_owned()));
        Self { metadata, dict: value.into_dict().unwrap_or_default() }
    }
}

/// Merges all layers and returns every value that is set, by its path.
///
/// # Errors
/// The file cannot be read or is not TOML, or an environment variable's name or value cannot be used.
pub(super) fn collect(
    file: Option<&Path>,
    env: &[(String, String)],
    flags: &[(&str, &str, String)],
) -> Result<BTreeMap<String, Leaf>, Problem> {
    let file_dict = file.map(read_file).transpose()?;
    let mut figment = Figment::new();
    for key in keys::KEYS {
        if let (Some(text), false) = (key.default, key.name.contains('*')) {
            figment = figment.merge(Layer::single(DEFAULT, DEFAULT, key.name, text));
        }
    }
    if !file_dict.as_ref().is_some_and(|dict| dict.contains_key("link")) {
        for (name, text) in keys::DEFAULT_LINK {
            figment = figment.merge(Layer::single(DEFAULT, DEFAULT, &format!("link.0.{name}"), text));
        }
    }
    if let (Some(path), Some(dict)) = (file, file_dict) {
        figment = figment.merge(Layer { metadata: Metadata::named("file").source(Source::File(path.into())), dict });
    }
    for (variable, value) in env {
        let Some(rest) = variable.strip_prefix(ENV_PREFIX) else {
            continue;
        };
        let path = rest.to_lowercase().replace("__", ".");
        if path.split('.').any(str::is_empty) {
            return Err(Problem::new(
                format!("environment {variable}"),
                "no key; write AUTH_ENGINE__SECTION__KEY, such as AUTH_ENGINE__REST__LISTEN",
            ));
        }
        figment = figment.merge(Layer::single(ENV, variable, &path, value));
    }
    for (flag, path, value) in flags {
        figment = figment.merge(Layer::single(FLAG, flag, path, value));
    }
    let merged = figment
        .data()
        .map_err(|error| Problem::new("configuration".to_owned(), error.to_string()))?
        .remove(&Profile::Default)
        .unwrap_or_default();
    let mut leaves = BTreeMap::new();
    for (name, value) in &merged {
        flatten(&figment, name, value, &mut leaves)?;
    }
    Ok(leaves)
}

fn read_file(path: &Path) -> Result<Dict, Problem> {
    let at = || path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Problem::new(at(), format!("cannot be read ({error}); give an existing file to --config")))?;
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
        let place = line.map_or_else(at, |line| format!("{}:{line}", path.display()));
        Problem::new(place, format!("not TOML: {}", error.message()))
    })?;
    let value = Value::serialize(&table).map_err(|error| Problem::new(at(), error.to_string()))?;
    let mut dict = value.into_dict().unwrap_or_default();
    // Figment replaces arrays and merges tables. As a table by number, a variable can change one key of one link.
    if let Some(Value::Array(tag, links)) = dict.remove("link") {
        let numbered = links.into_iter().enumerate().map(|(number, link)| (number.to_string(), link)).collect();
        dict.insert("link".to_owned(), Value::Dict(tag, numbered));
    } else if table.contains_key("link") {
        return Err(Problem::new(at(), "`link` is a list; write `[[link]]` above each link"));
    }
    Ok(dict)
}

fn flatten(figment: &Figment, path: &str, value: &Value, leaves: &mut BTreeMap<String, Leaf>) -> Result<(), Problem> {
    let origin = origin(figment, value);
    let text = match value {
        Value::Dict(_, dict) => {
            for (name, inner) in dict {
                flatten(figment, &format!("{path}.{name}"), inner, leaves)?;
            }
            return Ok(());
        }
        Value::Array(..) => {
            return Err(Problem::new(place(path, &origin), "is a list; one value is expected here"));
        }
        Value::String(_, text) => text.clone(),
        Value::Char(_, c) => c.to_string(),
        Value::Bool(_, on) => on.to_string(),
        Value::Num(_, number) => number
            .to_u128()
            .map(|n| n.to_string())
            .or_else(|| number.to_i128().map(|n| n.to_string()))
            .or_else(|| number.to_f64().map(|n| n.to_string()))
            .unwrap_or_default(),
        Value::Empty(..) => String::new(),
    };
    leaves.insert(path.to_owned(), Leaf { text, origin });
    Ok(())
}

fn origin(figment: &Figment, value: &Value) -> Origin {
    let Some(metadata) = figment.get_metadata(value.tag()) else {
        return Origin::Default;
    };
    match (&metadata.source, metadata.name.as_ref()) {
        (Some(Source::File(path)), _) => Origin::File { path: path.clone() },
        (Some(Source::Custom(variable)), ENV) => Origin::Env { variable: variable.clone() },
        (Some(Source::Custom(flag)), FLAG) => Origin::Flag { flag: flag.clone() },
        _ => Origin::Default,
    }
}

/// How an error names a value: `engine.toml: link.0.budget`, or the variable, or the flag.
pub(super) fn place(path: &str, origin: &Origin) -> String {
    match origin {
        Origin::Default => path.to_owned(),
        Origin::File { .. } => format!("{origin}: {path}"),
        Origin::Env { .. } | Origin::Flag { .. } => format!("{origin} ({path})"),
    }
}
