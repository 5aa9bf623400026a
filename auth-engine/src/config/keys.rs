//! The table of configuration keys: the one list from which defaults, checks, suggestions and `config show`
//! are made. It must never read a file or the environment.

/// What the text of a value must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Switch,
    /// A whole number from the first to the second, both included.
    Whole(u64, u64),
    /// A duration such as `"2s"`, from the first to the second in milliseconds, both included.
    Span(u64, u64),
    /// A size such as `"64MiB"`, from the first to the second in bytes, both included.
    Size(u64, u64),
    /// An IP address and a port.
    Address,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A table with free keys (currencies) and amounts as decimal text.
    Amounts,
    /// A table with free keys (numbers of elements) and their texts.
    Elements,
}

impl Kind {
    /// How a table of this kind is written; none: it is no table.
    pub(super) fn table(self) -> Option<&'static str> {
        match self {
            Self::Amounts => Some("{ EUR = \"1000\" }"),
            Self::Elements => Some("{ 33 = \"123456\" }"),
            Self::Text
            | Self::Switch
            | Self::Whole(..)
            | Self::Span(..)
            | Self::Size(..)
            | Self::Address
            | Self::Word(_) => None,
        }
    }
}

/// One key. `*` in a name stands for the number of a link, counted from 0.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// What holds when nothing sets it; `None`: it has to be set, or may stay unset where its section says so.
    pub(super) default: Option<&'static str>,
}

const fn key(name: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { name, kind, default: Some(default) }
}

const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;

/// The words `framing` knows.
pub(super) const FRAMINGS: &[&str] = &["len2be", "len2le", "len4be", "len4ascii"];

/// Every key there is, in the order in which `config show` prints them.
pub(super) const KEYS: &[Key] = &[
    key("data_dir", Kind::Text, "data"),
    key("sandbox", Kind::Switch, "true"),
    key("drain_timeout", Kind::Span(0, HOUR), "5s"),
    // A link without a name or one of both addresses is no link: no default, but for the one that stands in
    // when no file brings any.
    Key { name: "link.*.name", kind: Kind::Text, default: None },
    Key { name: "link.*.listen", kind: Kind::Address, default: None },
    Key { name: "link.*.connect", kind: Kind::Text, default: None },
    // TLS is on as soon as one of these is set.
    Key { name: "link.*.tls.certificate", kind: Kind::Text, default: None },
    Key { name: "link.*.tls.key", kind: Kind::Text, default: None },
    Key { name: "link.*.tls.peer_ca", kind: Kind::Text, default: None },
    Key { name: "link.*.tls.peer_name", kind: Kind::Text, default: None },
    key("link.*.spec", Kind::Text, "mastercard"),
    key("link.*.framing", Kind::Word(FRAMINGS), "len2be"),
    key("link.*.inclusive", Kind::Switch, "false"),
    key("link.*.header_bytes", Kind::Whole(0, 64), "0"),
    key("link.*.tpdu", Kind::Switch, "false"),
    // 200 ms of the budget are kept back from the partner and under 50 ms nobody is asked: a budget of 250 ms
    // or less would refuse every tap.
    key("link.*.budget", Kind::Span(251, 60 * SECOND), "2s"),
    key("link.*.require_sign_on", Kind::Switch, "false"),
    key("link.*.sign_on", Kind::Switch, "false"),
    Key { name: "link.*.network_elements", kind: Kind::Elements, default: None },
    // Its default depends on who opens the connection.
    Key { name: "link.*.echo_interval", kind: Kind::Span(0, DAY), default: None },
    key("link.*.echo_timeout", Kind::Span(10, HOUR), "10s"),
    key("link.*.max_frame", Kind::Size(16, 16 * MIB), "8KiB"),
    key("link.*.max_in_flight", Kind::Whole(1, 1_000_000), "4096"),
    key("link.*.frame_timeout", Kind::Span(10, HOUR), "10s"),
    key("link.*.idle_timeout", Kind::Span(10, 7 * DAY), "15m"),
    key("rest.listen", Kind::Address, "127.0.0.1:8080"),
    key("keys.master_file", Kind::Text, "master.key"),
    key("journal.segment", Kind::Size(MIB, 2 * GIB), "64MiB"),
    key("journal.archive_dir", Kind::Text, ""),
    key("journal.recovery_time", Kind::Span(0, HOUR), "5s"),
    key("journal.dedup_window", Kind::Span(SECOND, 30 * DAY), "1h"),
    key("journal.dedup_max", Kind::Whole(1, 1_000_000_000), "50000000"),
    key("journal.max_batch", Kind::Size(64 * KIB, 64 * MIB), "1MiB"),
    key("journal.checkpoint_interval", Kind::Span(0, DAY), "60s"),
    key("authorization.hold_lifetime", Kind::Span(SECOND, 365 * DAY), "168h"),
    key("authorization.preauthorization_lifetime", Kind::Span(SECOND, 365 * DAY), "720h"),
    key("partner.decision_timeout", Kind::Span(50, 60 * SECOND), "500ms"),
    key("partner.max_connections", Kind::Whole(1, 4096), "64"),
    Key { name: "fx.max_position", kind: Kind::Amounts, default: None },
    key("issuing.bin", Kind::Text, "53511012"),
    key("switch.max_connections", Kind::Whole(1, 1_000_000), "4096"),
    key("switch.out_buffer", Kind::Size(64 * KIB, GIB), "1MiB"),
    key("switch.realtime", Kind::Switch, "true"),
    key("switch.processor", Kind::Text, ""),
    key("telemetry.traces", Kind::Whole(0, 16_000_000), "1000000"),
];

/// How long nothing may come on a connection that we opened before it is asked for an echo.
pub(super) const ECHO_WHEN_CONNECTING: &str = "60s";

/// The link that stands in when no file brings one.
pub(super) const DEFAULT_LINK: &[(&str, &str)] = &[("name", "mastercard"), ("listen", "127.0.0.1:8583")];

/// `link.3.spec` as the table names it: `link.*.spec`. Other names are as they are.
pub(super) fn pattern(path: &str) -> String {
    let mut parts = path.split('.');
    match (parts.next(), parts.next()) {
        // Only the canonical spelling: `link.00` would otherwise be accepted and then read by nobody.
        (Some("link"), Some(number)) if number.parse::<u16>().is_ok_and(|n| n.to_string() == number) => {
            parts.fold(String::from("link.*"), |name, part| name + "." + part)
        }
        _ => path.to_owned(),
    }
}

/// The entry for a path such as `link.0.spec`.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    let pattern = pattern(path);
    KEYS.iter().find(|key| key.name == pattern)
}

/// Whether a path is one of the free keys of a table.
pub(super) fn inside_table(path: &str) -> bool {
    let pattern = pattern(path);
    let inside = |name: &str| pattern.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
    let mut tables = KEYS.iter().filter(|key| key.kind.table().is_some());
    tables.any(|key| inside(key.name).is_some_and(|rest| !rest.contains('.')))
}

/// The known key that is nearest to an unknown one, when it is near enough to be what was meant. The answer
/// carries the link number of the question.
pub(super) fn nearest(path: &str) -> Option<String> {
    let asked = pattern(path);
    let leaf = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let score = |name: &str| {
        // A right key in a wrong section is as likely as a typing error inside the right one.
        let whole = strsim::normalized_damerau_levenshtein(&asked, name);
        let last = strsim::normalized_damerau_levenshtein(&leaf(&asked), &leaf(name));
        whole.max(last * 0.9)
    };
    let best = KEYS.iter().map(|key| (score(key.name), key.name)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= 0.55).then(|| {
        let number = match (asked.starts_with("link.*"), path.split('.').nth(1)) {
            (true, Some(number)) => number.to_owned(),
            _ => String::from("0"),
        };
        best.1.replace('*', &number)
    })
}
