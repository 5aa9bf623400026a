//! The data directory: who may use it, where its keys are, what the first start leaves there.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger_core::journal::archive::Shelves;
use ledger_core::journal::file::RealDisk;
use ledger_core::journal::{self, KeySource, Options};
use ledger_core::keys::MasterKey;
use zeroize::Zeroizing;

use crate::cli::Failure;
use crate::config::Config;

/// Where in the data directory the journal is.
pub fn journal_dir(data: &Path) -> PathBuf {
    data.join("journal")
}

/// Where in the data directory the read model is.
pub fn view_dir(data: &Path) -> PathBuf {
    data.join("view")
}

/// Where the first start leaves the operator's key.
pub fn operator_key_file(data: &Path) -> PathBuf {
    data.join("operator.key")
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(|e| Failure::data(format!("the system gives no random bytes: {e}")))?;
    Ok(bytes)
}

/// Options of the journal as configured.
pub fn journal_options(config: &Config) -> Options {
    let mut options = Options::new(journal_dir(&config.data_dir));
    options.segment_bytes = config.journal.segment;
    if let Some(shelves) = shelves(config) {
        options.disk = shelves;
    }
    options.max_batch_bytes = usize::try_from(config.journal.max_batch).unwrap_or(options.max_batch_bytes);
    options
}

/// The disk on which archived segments are where they were; none without an archive.
pub fn shelves(config: &Config) -> Option<Arc<Shelves>> {
    let archive = config.journal.archive_dir.as_ref()?;
    Some(Arc::new(Shelves::new(Arc::new(RealDisk), journal_dir(&config.data_dir), archive)))
}

/// Makes the data directory, and says in one line why it cannot be used.
///
/// # Errors
/// Exit 3 with the directory and the reason.
pub fn prepare(config: &Config) -> Result<(), Failure> {
    let dir = &config.data_dir;
    let refuse = |why: std::io::Error| {
        Failure::data(format!(
            "data directory {}: {why}; give a directory that this user may write with --data",
            dir.display()
        ))
    };
    fs::create_dir_all(dir).map_err(refuse)?;
    let probe = dir.join(".writable");
    fs::write(&probe, b"").and_then(|()| fs::remove_file(&probe)).map_err(refuse)
}

/// The master key, made on the first start of a sandbox.
///
/// # Errors
/// Exit 3: absent where it must exist, or not 64 hex digits.
pub fn key_source(config: &Config) -> Result<KeySource, Failure> {
    let file = &config.keys.master_file;
    match fs::read_to_string(file) {
        Ok(text) => {
            let text = Zeroizing::new(text);
            let master = MasterKey::from_hex(text.trim()).map_err(|why| {
                Failure::data(format!("master key {}: {why}; restore the file from its copy", file.display()))
            })?;
            Ok(KeySource::new(master, random()?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_master(config),
        Err(error) => {
            Err(Failure::data(format!("master key {}: {error}; make it readable for this user", file.display())))
        }
    }
}

/// True when the data directory holds a journal.
///
/// # Errors
/// Exit 3 when it cannot be listed.
pub fn has_journal(data: &Path) -> Result<bool, Failure> {
    journal::exists(&RealDisk, &journal_dir(data)).map_err(|e| Failure::data(e.to_string()))
}

/// The operator's key is written once the journal is there: a key without a journal says that the journal is gone,
/// and a new one in its place would forget all that was acknowledged.
///
/// # Errors
/// Exit 3.
pub fn refuse_lost_journal(data: &Path) -> Result<(), Failure> {
    let key = operator_key_file(data);
    if !key.exists() || has_journal(data)? {
        return Ok(());
    }
    Err(Failure::data(format!(
        "{}: no segment here, and {} says that there was a journal; restore its segments, or give --data a new directory",
        journal_dir(data).display(),
        key.display()
    )))
}

fn make_master(config: &Config) -> Result<KeySource, Failure> {
    let file = &config.keys.master_file;
    let dir = journal_dir(&config.data_dir);
    if !config.sandbox {
        return Err(Failure::data(format!(
            "master key {} does not exist: make 64 hex digits of random bytes there (mode 0600), and keep a copy elsewhere: without it the journal's sealed parts are lost",
            file.display()
        )));
    }
    if has_journal(&config.data_dir)? {
        return Err(Failure::data(format!(
            "master key {} is gone and {} holds a journal sealed with it; restore the key from its copy",
            file.display(),
            dir.display()
        )));
    }
    let master = MasterKey::from_bytes(random()?);
    write_secret(file, master.to_hex().as_bytes())?;
    tracing::warn!(
        file = %file.display(),
        "a master key was made: keep a copy elsewhere; without it stored requests, card numbers and secrets cannot be read and the engine does not start"
    );
    Ok(KeySource::new(master, random()?))
}

/// Writes a secret for this user alone, whole or not at all.
///
/// # Errors
/// Exit 3 with the file.
pub fn write_secret(file: &Path, secret: &[u8]) -> Result<(), Failure> {
    let refuse = |why: std::io::Error| Failure::data(format!("{}: {why}; make the directory writable", file.display()));
    let partial = file.with_extension("partial");
    let mut out =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial).map_err(refuse)?;
    out.set_permissions(fs::Permissions::from_mode(0o600)).map_err(refuse)?;
    out.write_all(secret).and_then(|()| out.write_all(b"\n")).and_then(|()| out.sync_all()).map_err(refuse)?;
    fs::rename(&partial, file).map_err(refuse)?;
    match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => fs::File::open(dir).and_then(|d| d.sync_all()).map_err(refuse),
        _ => Ok(()),
    }
}

/// The operator's key as the file holds it, when there is one.
pub fn read_operator_key(data: &Path) -> Option<Zeroizing<String>> {
    let text = Zeroizing::new(fs::read_to_string(operator_key_file(data)).ok()?);
    let key = text.trim();
    (!key.is_empty()).then(|| Zeroizing::new(key.to_owned()))
}
