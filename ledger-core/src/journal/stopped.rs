//! A stopped journal, or a copy of one, open for reading here and there: what commands that look at single events or at
//! a range stand on.
//!
//! It must never write. It checks what it reads; for a judgement of the whole there is [`super::verify()`].

use std::path::Path;
use std::sync::Arc;

use super::KeySource;
use super::error::JournalError;
use super::file::{Disk, Lock};
use super::reader::{Reader, Shared};
use super::recovery::{self, Start, TornTail};
use super::verify::share_directory;
use super::writer::index_segments;
use crate::keys::Keyring;

/// A journal that nobody writes while this lives.
pub struct Stopped {
    reader: Reader,
    keyring: Option<Arc<Keyring>>,
    last_seq: u64,
    torn: Option<TornTail>,
    _lock: Box<dyn Lock>,
}

impl Stopped {
    /// Reads the headers of all segments and the blocks of the newest, to know where the journal ends. The keys are
    /// opened when the source has a master key.
    ///
    /// # Errors
    /// [`JournalError::Empty`] without segments, [`JournalError::InUse`] while an engine runs on it, and whatever of
    /// what was read [`super::Journal::open`] would refuse.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, keys: &KeySource) -> Result<Self, JournalError> {
        let lock = share_directory(&*disk, dir)?;
        let survey = recovery::survey(&*disk, dir, None, None)?;
        let Some((_, header, _)) = survey.active.last() else {
            return Err(JournalError::Empty { dir: dir.to_owned() });
        };
        let keyring = if keys.master().is_some() { recovery::open_keys(&survey, keys)? } else { None };
        let scan = recovery::scan(&*disk, dir, &survey, &Start::newest(&survey), &mut |_| Ok(()))?;
        let shared = Shared::new(disk, dir.to_owned(), recovery::block_tag(&header.engine_id));
        index_segments(&shared, &survey, &scan)?;
        let (last_seq, torn) = (scan.last_seq, scan.torn);
        Ok(Self { reader: Reader::new(Arc::new(shared)), keyring, last_seq, torn, _lock: lock })
    }

    /// Random access to its events, and block after block.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The opened keys, when there was a master key.
    pub fn keyring(&self) -> Option<&Arc<Keyring>> {
        self.keyring.as_ref()
    }

    /// The last durable sequence, 0 when there is none.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// A write the last run did not finish.
    pub fn torn(&self) -> Option<&TornTail> {
        self.torn.as_ref()
    }
}
