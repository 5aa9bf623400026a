//! From text by path to the typed configuration: unknown keys, values, and what must hold between values.
//!
//! It collects every problem instead of stopping at the first. It must never touch the file system.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use rust_decimal::Decimal;

use super::keys::{self, Kind};
use super::layers::{Leaf, Origin, place};
use super::{
    AuthorizationConfig, Config, ConfigError, FxConfig, IssuingConfig, JournalConfig, KeysConfig, PartnerConfig,
    Problem, RestConfig, Setting, SwitchConfig, TelemetryConfig, values,
};

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

/// Takes values out of the leaves one by one, and notes what is wrong with them.
pub(super) struct Reader {
    pub(super) leaves: BTreeMap<String, Leaf>,
    pub(super) problems: Vec<Problem>,
    pub(super) settings: Vec<Setting>,
}

impl Reader {
    fn refuse_unknown(&mut self) {
        for (path, leaf) in &self.leaves {
            let pattern = keys::pattern(path);
            let at = place(path, &leaf.origin);
            let table = keys::find(path).map(|key| (key, key.kind.table()));
            match table {
                Some((_, None)) => {}
                Some((key, Some(example))) => {
                    let name = key.name.rsplit('.').next().unwrap_or_default();
                    self.problems.push(Problem::new(at, format!("is a table; write `{name} = {example}`")));
                }
                None if keys::inside_table(path) => {}
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
    pub(super) fn leaf_default(&mut self, path: &str, default: &str) {
        let leaf = || Leaf { text: default.to_owned(), origin: Origin::Default };
        self.leaves.entry(path.to_owned()).or_insert_with(leaf);
    }

    /// Notes a problem of a key where its value was set.
    pub(super) fn object(&mut self, path: &str, what: impl Into<String>) {
        let at = self.leaves.get(path).map_or_else(|| path.to_owned(), |leaf| place(path, &leaf.origin));
        self.problems.push(Problem::new(at, what));
    }

    pub(super) fn read<T>(
        &mut self,
        path: &str,
        parse: impl FnOnce(&str, Kind) -> Option<Result<T, String>>,
    ) -> Option<T> {
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

    pub(super) fn text(&mut self, path: &str) -> Option<String> {
        self.read(path, |text, _| Some(Ok(text.to_owned())))
    }

    pub(super) fn switch(&mut self, path: &str) -> Option<bool> {
        self.read(path, |text, _| Some(values::switch(text)))
    }

    pub(super) fn span(&mut self, path: &str) -> Option<Duration> {
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

    pub(super) fn count(&mut self, path: &str) -> Option<usize> {
        self.number(path).and_then(|n| usize::try_from(n).ok())
    }

    pub(super) fn address(&mut self, path: &str) -> Option<std::net::SocketAddr> {
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
