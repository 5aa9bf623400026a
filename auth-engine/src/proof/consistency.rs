//! A proof that the journal still begins with what a checkpoint said: for a witness who kept one, and wants to know
//! that nothing before it was changed or taken out since.

use ledger_core::journal::Reader;
use ledger_core::keys::Keyring;
use ledger_core::proof::{Hash, Salts, Tree, verify_consistency};
use ledger_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::bundle::{Base64, ProofError};
use super::note::{Checkpoint, Signer, VerifierKey};
use super::store::Stored;

/// What the first member says.
pub const FORMAT: &str = "auth-engine consistency proof 1";

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    format: String,
    old: String,
    new: String,
    path: Vec<Base64<Hash>>,
}

/// Shows that the journal begins with what `old` says. `stored` is the newest checkpoint there is; the proof leads to
/// it when it is newer, and to one signed for the purpose otherwise.
///
/// # Errors
/// A [`ProofError`]: one is that it does not.
pub fn prove(
    reader: &Reader,
    keyring: &Keyring,
    old: &str,
    stored: Option<&Stored>,
) -> Result<Consistency, ProofError> {
    let (signer, salts) = (Signer::new(keyring), Salts::new(keyring));
    let note = |why| ProofError::Note { part: "old checkpoint", why };
    let old = Stored { checkpoint: Checkpoint::open(old, signer.verifier()).map_err(note)?, note: old.to_owned() };
    let stored = stored.filter(|stored| stored.checkpoint.size > old.checkpoint.size);
    let (mut tree, mut mark, mut last_at) = (Tree::new(), None, Timestamp(0));
    let mut follower = reader.follow(1);
    'journal: while let Some(block) = follower.next_block()? {
        for record in block.iter() {
            tree.push(salts.leaf(&record));
            last_at = Timestamp(record.at);
            if tree.size() == old.checkpoint.size {
                old.matches(&tree)?;
                mark = tree.mark_state();
            }
            if stored.is_some_and(|stored| stored.checkpoint.size == tree.size()) {
                break 'journal;
            }
        }
    }
    let Some(mark) = mark else { return Err(old.ahead(tree.size())) };
    let new = match stored {
        Some(stored) if stored.checkpoint.size != tree.size() => return Err(stored.ahead(tree.size())),
        Some(stored) => {
            stored.matches(&tree)?;
            stored.note.clone()
        }
        None => Checkpoint { size: tree.size(), root: tree.root(), last_at }.sign(&signer),
    };
    let path = if tree.size() == old.checkpoint.size { Vec::new() } else { tree.path(mark) };
    let path = path.into_iter().map(Base64).collect();
    Ok(Consistency { format: FORMAT.to_owned(), old: old.note, new, path })
}

impl Consistency {
    /// The file.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("text is JSON");
        text.push('\n');
        text
    }

    /// Checks a file against a key: the older and the newer checkpoint.
    ///
    /// # Errors
    /// A [`ProofError`].
    pub fn verify(file: &[u8], key: &VerifierKey) -> Result<(Checkpoint, Checkpoint), ProofError> {
        let given: Self = serde_json::from_slice(file).map_err(|why| ProofError::Form(why.to_string()))?;
        if given.format != FORMAT {
            return Err(ProofError::Form(format!("the format is not {FORMAT:?}")));
        }
        let open = |part, note: &str| Checkpoint::open(note, key).map_err(|why| ProofError::Note { part, why });
        let (old, new) = (open("old checkpoint", &given.old)?, open("new checkpoint", &given.new)?);
        let path: Vec<Hash> = given.path.iter().map(|hash| hash.0).collect();
        if verify_consistency(old.size, new.size, &old.root, &new.root, &path) {
            return Ok((old, new));
        }
        Err(ProofError::Mismatch("the newer checkpoint is not shown to begin with the older one".to_owned()))
    }
}
