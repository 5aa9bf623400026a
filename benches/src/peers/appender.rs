//! A file of zeros that grows by appends and a sync, as a peer's journal. It owns where the next bytes go; it must
//! never go on after a write or a sync that failed.

use crate::engine::zeroed;
use crate::fault::Fault;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Zeros that are laid before the first append, as in a segment of the engine's journal. At the end the file begins
/// again: a peer pays for no new segments and keeps the last 64 MiB.
const SIZE: usize = 64 << 20;

/// The file and the place of the next append.
pub(super) struct Appender {
    file: File,
    at: usize,
}

impl Appender {
    /// Makes the file and fills it with zeros that are on the disk.
    pub(super) fn create(path: &Path) -> Result<Appender, Fault> {
        Ok(Appender { file: zeroed(path, SIZE)?, at: 0 })
    }

    /// Writes and syncs. What was appended is durable when this returns.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.at + bytes.len() > SIZE {
            self.at = 0;
        }
        self.file.write_all_at(bytes, u64::try_from(self.at).unwrap_or(0))?;
        self.at += bytes.len();
        self.file.sync_data()
    }
}
