//! `auth-engine journal prove` and `journal verify --proof`: proofs for somebody who has no journal, and their check,
//! which needs none. `journal verify` on a directory checks here what was signed.
//!
//! It must never write into the data directory, and never look at one while it checks a proof.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ledger_core::id::{Id, Thing};
use ledger_core::journal::{Record, Stopped, read_keyring};
use ledger_core::proof::{Salts, Tree};

use super::config::ConfigArgs;
use super::{Failure, Outcome, say, stopped};
use crate::config::Config;
use crate::proof::bundle::{self, Bundle, MOST_BYTES, ProofError, Shown};
use crate::proof::consistency::{self, Consistency};
use crate::proof::note::{Checkpoint, Signer, VerifierKey};
use crate::proof::store::{self, Stored};
use crate::shard::data;

/// Arguments of `auth-engine journal prove`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  auth-engine journal prove --public-key --data ./data > journal.key\n  auth-engine journal prove aut_0000008000000001 --data ./data --out tap.proof\n  auth-engine journal verify --proof tap.proof --key journal.key\n\nThe engine must be stopped, or the directory a copy; the public key can be asked for at any time. Nothing is\nwritten but the file named by --out. What a proof shows, and how it is checked with other tools, is told in\ndocs/proofs.md."
)]
pub struct Args {
    #[command(flatten)]
    from: ConfigArgs,
    /// The authorization to prove (aut_…)
    #[arg(required_unless_present_any = ["public_key", "since"], conflicts_with_all = ["public_key", "since"])]
    id: Option<String>,
    /// Print the key that checks this journal's proofs, to hand to others once and for all
    #[arg(long, conflicts_with = "since")]
    public_key: bool,
    /// Prove instead that the journal still begins with what this checkpoint said
    #[arg(long, value_name = "CHECKPOINT")]
    since: Option<PathBuf>,
    /// Write the proof to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Runs `journal prove`.
///
/// # Errors
/// A [`Failure`] with the exit code and one line.
pub fn run(args: &Args) -> Outcome {
    let config = args.from.load()?;
    let dir = data::journal_dir(&config.data_dir);
    if !data::has_journal(&config.data_dir)? {
        return Err(Failure::data(format!("{}: no journal here; name the data directory with --data", dir.display())));
    }
    let (keys, disk) = (data::key_source(&config)?, data::journal_options(&config).disk);
    if args.public_key {
        // A header does not change, so this works beside a running engine.
        let keyring = read_keyring(&*disk, &dir, &keys).map_err(stopped::failure)?;
        say(Signer::new(&keyring).verifier());
        return Ok(ExitCode::SUCCESS);
    }
    let stopped = Stopped::open(disk, &dir, &keys).map_err(stopped::failure)?;
    let keyring = stopped.keyring().ok_or_else(|| Failure::data("the master key is needed to sign a proof"))?;
    let key = Signer::new(keyring).verifier().clone();
    let stored = store::read_last(&store::dir(&config.data_dir), &key).map_err(|e| Failure::data(e.to_string()))?;
    let text = match (&args.id, &args.since) {
        (Some(text), _) => {
            let id = Id::parse(text, Thing::Authorization).ok_or_else(|| {
                Failure::usage(format!("{text:?} is no id of an authorization; it looks like aut_0000008000000001"))
            })?;
            bundle::prove(&stopped.reader(), keyring, id, stored.as_ref()).map_err(refused)?.to_json()
        }
        (None, Some(old)) => {
            let note = String::from_utf8_lossy(&read(old)?).into_owned();
            consistency::prove(&stopped.reader(), keyring, &note, stored.as_ref()).map_err(refused)?.to_json()
        }
        (None, None) => return Err(Failure::usage("name an authorization, --since or --public-key")),
    };
    match &args.out {
        None => print!("{text}"),
        Some(file) => {
            let why =
                |e: std::io::Error| Failure::usage(format!("{}: {e}; name a file that can be written", file.display()));
            std::fs::write(file, text.as_bytes()).map_err(why)?;
            say(format_args!(
                "{}: check it with `journal verify --proof {} --key {key}`",
                file.display(),
                file.display()
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `journal verify --proof`: the file and the key, and nothing else.
///
/// # Errors
/// Exit 1 when the proof does not hold, 2 for a file or key that cannot be read.
pub fn verify(proof: &Path, key: Option<&str>) -> Outcome {
    let key =
        key.ok_or_else(|| Failure::usage("a proof is checked against a key: give it, or its file, with --key"))?;
    let text = if Path::new(key).is_file() {
        String::from_utf8_lossy(&read(Path::new(key))?).into_owned()
    } else {
        key.to_owned()
    };
    let key = VerifierKey::parse(&text).map_err(|why| Failure::usage(why.to_string()))?;
    let file = read(proof)?;
    let refused = |why: ProofError| Failure::no(format!("{}: not proven: {why}", proof.display()));
    if bundle::says(&file, consistency::FORMAT) {
        let (old, new) = Consistency::verify(&file, &key).map_err(refused)?;
        say(format_args!(
            "proven: the first {} events are unchanged: the tree of {} begins with them; {}",
            old.size,
            new.size,
            signed(&new, &key)
        ));
    } else {
        let shown = Bundle::verify(&file, &key).map_err(refused)?;
        say(format_args!("proven: {}; {}", told(&shown), signed(&shown.checkpoint, &key)));
    }
    Ok(ExitCode::SUCCESS)
}

fn told(shown: &Shown) -> String {
    let reading = &shown.reading;
    let money = |of: &crate::view::docs::MoneyDoc| format!("{} {}", of.value, of.currency);
    let word = |text: &str| text.replace('_', " ");
    let steps: Vec<String> =
        shown.events.iter().map(|event| format!("{} ({})", word(&event.kind), word(&event.status))).collect();
    let code = reading.response_code.as_deref().map_or_else(String::new, |code| format!(" ({code})"));
    format!(
        "{}: {} of {}, {}{code}, held {}, cleared {}, in {}: {}",
        shown.authorization,
        word(&reading.kind),
        money(&reading.amount),
        word(&reading.status),
        money(&reading.held),
        money(&reading.cleared),
        match steps.len() {
            1 => "1 event".to_owned(),
            many => format!("{many} events"),
        },
        steps.join(", ")
    )
}

fn signed(checkpoint: &Checkpoint, key: &VerifierKey) -> String {
    let Checkpoint { size, last_at, .. } = checkpoint;
    format!("signed by {} over {size} events up to {}", key.name(), last_at.rfc3339())
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let why = |why: String| Failure::usage(format!("{}: {why}; name a file that can be read", file.display()));
    let len = std::fs::metadata(file).map_err(|e| why(e.to_string()))?.len();
    if len > MOST_BYTES as u64 {
        return Err(why(format!("{len} bytes are too many for a proof, a checkpoint or a key")));
    }
    std::fs::read(file).map_err(|e| why(e.to_string()))
}

fn refused(error: ProofError) -> Failure {
    match error {
        ProofError::Journal(error) => stopped::failure(error),
        ProofError::Checkpoint(_) => Failure::data(error.to_string()),
        ProofError::Missing(_) | ProofError::Form(_) | ProofError::Note { .. } | ProofError::Mismatch(_) => {
            Failure::no(error.to_string())
        }
    }
}

/// The checkpoints of a directory against its journal, while that is verified.
pub(super) enum Audit {
    /// None were ever signed.
    None,
    /// They cannot be checked, and why.
    Not(String),
    /// They can.
    Of(Box<Signed>),
}

/// What is left to check.
pub(super) struct Signed {
    salts: Salts,
    tree: Tree,
    stored: Vec<Stored>,
    checked: usize,
}

impl Audit {
    /// Reads what was signed. The tree is of salted events, so without the master key nothing can be said of it.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        let dir = store::dir(&config.data_dir);
        if !store::any(&dir) {
            return Ok(Self::None);
        }
        if !config.keys.master_file.exists() || !data::has_journal(&config.data_dir)? {
            return Ok(Self::Not("not checked: that takes the master key".to_owned()));
        }
        let (disk, journal) = (data::journal_options(config).disk, data::journal_dir(&config.data_dir));
        let keyring = data::key_source(config)
            .map_err(|why| why.to_string())
            .and_then(|keys| read_keyring(&*disk, &journal, &keys).map_err(|why| why.to_string()));
        let keyring = match keyring {
            Ok(keyring) => keyring,
            Err(why) => return Ok(Self::Not(format!("not checked: {why}"))),
        };
        let stored = store::read_all(&dir, Signer::new(&keyring).verifier()).map_err(|e| Failure::no(e.to_string()))?;
        let (salts, tree) = (Salts::new(&keyring), Tree::new());
        Ok(Self::Of(Box::new(Signed { salts, tree, stored, checked: 0 })))
    }

    /// The next event.
    pub(super) fn take(&mut self, record: &Record<'_>) -> Result<(), String> {
        let Self::Of(signed) = self else { return Ok(()) };
        let Some(next) = signed.stored.get(signed.checked) else { return Ok(()) };
        signed.tree.push(signed.salts.leaf(record));
        if next.checkpoint.size == signed.tree.size() {
            if next.checkpoint.root != signed.tree.root() {
                return Err(format!(
                    "the checkpoint signed over {} events says another root: one of them was changed since",
                    next.checkpoint.size
                ));
            }
            signed.checked += 1;
        }
        Ok(())
    }

    /// How many were checked, or why not.
    pub(super) fn finish(self, last_seq: u64) -> Result<serde_json::Value, Failure> {
        match self {
            Self::None => Ok(0.into()),
            Self::Not(why) => Ok(why.into()),
            Self::Of(signed) => match signed.stored.get(signed.checked) {
                Some(beyond) => Err(Failure::no(format!(
                    "a checkpoint was signed over {} events and the journal ends at event {last_seq}: it lost its end; restore it",
                    beyond.checkpoint.size
                ))),
                None => Ok(signed.checked.into()),
            },
        }
    }
}
