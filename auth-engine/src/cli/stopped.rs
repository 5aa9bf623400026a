//! A stopped data directory, or a copy of one, as the commands read it: the journal walked once, every event decoded
//! and folded, with a bar on a terminal. It must never write, and never go on past damage as if it were not there.

use std::io::IsTerminal as _;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ledger_core::book::Book;
use ledger_core::event::Event;
use ledger_core::journal::file::Disk;
use ledger_core::journal::{JournalError, Record, Stopped, Walked, walk};
use ledger_core::keys::Keyring;
use ledger_core::time::Timestamp;

use super::Failure;
use super::config::ConfigArgs;
use crate::config::Config;
use crate::shard::boot::load_spec;
use crate::shard::data;
use crate::view::fold::SealedRequests;

/// Where a stopped engine's data is, and how it is configured.
pub(super) struct Directory {
    /// The effective configuration.
    pub(super) config: Config,
    /// The journal's directory.
    pub(super) dir: PathBuf,
    /// The disk it is read through, archived segments included.
    pub(super) disk: Arc<dyn Disk>,
}

/// What looks at events while the journal is folded.
pub(super) trait Watch {
    /// An event that is not folded in yet; break to stop before it.
    fn before(&mut self, _book: &Book, _record: &Record<'_>, _event: &Event<'_>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// An event that is folded in; break to stop after it.
    fn after(&mut self, book: &Book, record: &Record<'_>, event: &Event<'_>) -> Result<ControlFlow<()>, Failure>;
}

impl Directory {
    /// The directory that the flags name.
    ///
    /// # Errors
    /// Exit 2 for the configuration, 3 when there is no journal.
    pub(super) fn open(from: &ConfigArgs) -> Result<Self, Failure> {
        let config = from.load()?;
        let (dir, disk) = (data::journal_dir(&config.data_dir), data::journal_options(&config).disk);
        if !data::has_journal(&config.data_dir)? {
            let what = "no journal here; name the data directory of a stopped engine, or a copy, with --data";
            return Err(Failure::data(format!("{}: {what}", dir.display())));
        }
        Ok(Self { config, dir, disk })
    }

    /// Opens the journal's keys with the configured master key.
    ///
    /// # Errors
    /// Exit 3 without the right master key.
    pub(super) fn keyring(&self) -> Result<Arc<Keyring>, Failure> {
        let keys = data::key_source(&self.config)?;
        let stopped = Stopped::open(Arc::clone(&self.disk), &self.dir, &keys).map_err(failure)?;
        let absent = || Failure::data(format!("{}: the journal's keys do not open", self.dir.display()));
        stopped.keyring().cloned().ok_or_else(absent)
    }

    /// What opens raw requests.
    pub(super) fn requests(keyring: &Arc<Keyring>) -> SealedRequests {
        SealedRequests::new(Arc::clone(keyring), Box::new(|name: &str| load_spec(name).ok()))
    }

    /// Folds the journal from its first event on, until the watch has enough or the journal ends.
    ///
    /// # Errors
    /// Exit 1 for an event that breaks an invariant, exit 3 for a directory that cannot be read, and what the watch
    /// fails with. Damage is told in [`Walked::trouble`]: see [`whole`].
    pub(super) fn fold(&self, watch: &mut dyn Watch) -> Result<(Book, Walked), Failure> {
        let mut book = Book::default();
        let mut failed = None;
        let bar = self.bar();
        let starts = self.starts();
        let walked = walk(&*self.disk, &self.dir, &mut |block| {
            let at = usize::try_from(block.segment()).unwrap_or(usize::MAX).saturating_sub(1);
            bar.set_position(starts.get(at).copied().unwrap_or(0) + block.offset());
            for record in block.records() {
                let event = Event::decode(record.payload).map_err(|e| (record.seq, e.to_string()))?;
                if watch.before(&book, &record, &event).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                let folded = book.apply(record.seq, Timestamp(record.at), &event);
                folded.map_err(|e| (record.seq, e.to_string()))?;
                match watch.after(&book, &record, &event) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return Ok(ControlFlow::Break(())),
                    Err(failure) => {
                        failed = Some(failure);
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            Ok(ControlFlow::Continue(()))
        });
        bar.finish_and_clear();
        let walked = walked.map_err(failure)?;
        failed.map_or(Ok((book, walked)), Err)
    }

    /// Where each segment begins when all are laid end to end.
    fn starts(&self) -> Vec<u64> {
        let mut next = 0;
        let mut entries = self.disk.list(&self.dir).unwrap_or_default();
        entries.retain(|entry| entry.name.ends_with(".segment"));
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let mut place = |entry: &ledger_core::journal::file::Entry| {
            let start = next;
            next += entry.len;
            start
        };
        entries.iter().map(&mut place).collect()
    }

    /// A bar over all segments, on a terminal.
    fn bar(&self) -> ProgressBar {
        let entries = self.disk.list(&self.dir).unwrap_or_default();
        bar(entries.iter().filter(|entry| entry.name.ends_with(".segment")).map(|entry| entry.len).sum(), true)
    }
}

/// A bar on stderr when that is a terminal, hidden otherwise.
pub(super) fn bar(length: u64, bytes: bool) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let shape = if bytes {
        "{bar:32} {binary_bytes} of {binary_total_bytes}, {eta} left"
    } else {
        "{bar:32} {human_pos} of {human_len} events, {eta} left"
    };
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    // A template that does not read shows the plain bar.
    match ProgressStyle::with_template(shape) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// Refuses what damage kept from being read.
///
/// # Errors
/// Exit 1 with the place.
pub(super) fn whole(walked: &Walked) -> Result<(), Failure> {
    walked.trouble.as_ref().map_or(Ok(()), |error| Err(Failure::no(error.to_string())))
}

/// A directory that cannot be used is 3, damage is 1.
pub(super) fn failure(error: JournalError) -> Failure {
    if error.is_damage() { Failure::no(error.to_string()) } else { Failure::data(error.to_string()) }
}

/// Bytes as hexadecimal text.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Which events, by sequence.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Range {
    /// From this sequence on
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    pub(super) from: u64,
    /// Up to and with this sequence; without it to the end
    #[arg(long, value_name = "SEQ", default_value_t = u64::MAX, hide_default_value = true)]
    pub(super) to: u64,
}

impl Range {
    pub(super) fn holds(&self, seq: u64) -> bool {
        (self.from..=self.to).contains(&seq)
    }
}
