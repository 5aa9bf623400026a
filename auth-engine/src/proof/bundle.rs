//! A proof of one authorization: a file that shows its events to be in the journal whose key signed the checkpoint, to
//! somebody who has nothing but the file and the public key.
//!
//! Of other events it holds hashes alone, and those tell nothing without their salts. It must never show a sealed
//! part opened, and never believe a word of the file that the events under the root do not say again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger_core::event::Event;
use ledger_core::id::{Id, Thing};
use ledger_core::journal::{JournalError, OwnedRecord, Reader};
use ledger_core::keys::Keyring;
use ledger_core::proof::{Hash, Mark, Salts, Tree, event_leaf, verify_inclusion};
use ledger_core::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::note::{Checkpoint, NoteError, Signer, VerifierKey};
use super::reading::{self, EventReading, Reading};
use super::store::Stored;

/// What the first member of a proof says.
pub const FORMAT: &str = "auth-engine authorization proof 1";
/// What a statement's first line adds to the name, so that it cannot be read as a checkpoint.
const STATEMENT: &str = "/authorization";
/// A file that is longer is no proof of ours.
pub const MOST_BYTES: usize = 64 << 20;
/// No network sends one purchase more messages.
const MOST_EVENTS: usize = 10_000;

/// Why there is no proof, or why one is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    /// The journal does not read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// There is no such authorization.
    #[error("the journal has no authorization {0}")]
    Missing(String),
    /// A stored checkpoint goes beyond the journal, or says another root.
    #[error("{0}")]
    Checkpoint(String),
    /// The file is not in the form of a proof.
    #[error("this is no proof of this version: {0}")]
    Form(String),
    /// A signed part is not.
    #[error("the {part}: {why}")]
    Note {
        /// Which part.
        part: &'static str,
        /// Why.
        why: NoteError,
    },
    /// The parts do not fit each other.
    #[error("{0}")]
    Mismatch(String),
}

impl ProofError {
    fn note(part: &'static str) -> impl Fn(NoteError) -> Self {
        move |why| Self::Note { part, why }
    }

    fn mismatch(what: impl Into<String>) -> Self {
        Self::Mismatch(what.into())
    }
}

/// Bytes as base64, in the one way to write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base64<T>(pub T);

impl<T: AsRef<[u8]>> Serialize for Base64<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de, T: TryFrom<Vec<u8>>> Deserialize<'de> for Base64<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| serde::de::Error::custom("bytes in base64 that are none, or too many or few"))
    }
}

/// One event with all that its leaf is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProvedEvent {
    sequence: u64,
    at_us: i64,
    epoch: u32,
    payload: Base64<Vec<u8>>,
    salt: Base64<Hash>,
    path: Vec<Base64<Hash>>,
    reading: EventReading,
}

/// A proof of one authorization, as its file has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    format: String,
    authorization: String,
    checkpoint: String,
    statement: String,
    reading: Reading,
    events: Vec<ProvedEvent>,
}

/// What a proof shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// `aut_…`
    pub authorization: String,
    /// What its events say.
    pub reading: Reading,
    /// Each with what it came to.
    pub events: Vec<EventReading>,
    /// The tree that they are in.
    pub checkpoint: Checkpoint,
}

/// An authorization's events while the journal is read past.
struct Gathering {
    id: Id,
    found: Vec<(OwnedRecord, Mark)>,
}

impl Gathering {
    /// Whether a record is one of its events.
    fn takes(&self, record: &ledger_core::journal::Record<'_>) -> bool {
        let Ok(event) = Event::decode(record.payload) else { return false };
        if self.found.is_empty() {
            return record.epoch == self.id.epoch && reading::makes(&event) == Some(self.id.no);
        }
        crate::view::fold::concerned(&event).contains(&self.id.no)
    }
}

/// Makes the proof of an authorization by reading the journal once. `stored` is the newest checkpoint there is; the
/// proof leans on it when it covers all of the authorization, and on one signed for the purpose otherwise.
///
/// # Errors
/// A [`ProofError`].
pub fn prove(reader: &Reader, keyring: &Keyring, id: Id, stored: Option<&Stored>) -> Result<Bundle, ProofError> {
    let (signer, salts) = (Signer::new(keyring), Salts::new(keyring));
    let mut gathering = Gathering { id, found: Vec::new() };
    let mut last_at = Timestamp(0);
    let mut covered = None;
    let mut tree = Tree::new();
    let mut follower = reader.follow(1);
    while let Some(block) = follower.next_block()? {
        for record in block.iter() {
            let leaf = salts.leaf(&record);
            if gathering.found.len() < MOST_EVENTS && gathering.takes(&record) {
                let mark = tree.push_marked(leaf);
                let owned = OwnedRecord {
                    seq: record.seq,
                    at: record.at,
                    epoch: record.epoch,
                    payload: record.payload.to_vec(),
                };
                gathering.found.push((owned, mark));
            } else {
                tree.push(leaf);
            }
            last_at = Timestamp(record.at);
            if let Some(stored) = stored.filter(|stored| stored.checkpoint.size == tree.size()) {
                stored.matches(&tree)?;
                covered = Some((tree.clone(), stored));
            }
        }
    }
    if let (Some(stored), None) = (stored, &covered) {
        return Err(stored.ahead(tree.size()));
    }
    let text = id.text(Thing::Authorization);
    let last = gathering.found.last().map(|(record, _)| record.seq).ok_or_else(|| ProofError::Missing(text.clone()))?;
    let (tree, checkpoint, note) = match covered.filter(|(tree, _)| tree.size() >= last) {
        Some((tree, stored)) => (tree, stored.checkpoint, stored.note.clone()),
        None => {
            let checkpoint = Checkpoint { size: tree.size(), root: tree.root(), last_at };
            (tree, checkpoint, checkpoint.sign(&signer))
        }
    };
    let records: Vec<OwnedRecord> = gathering.found.iter().map(|(record, _)| record.clone()).collect();
    let (reading, readings) = reading::read(id, &records).map_err(ProofError::mismatch)?;
    let sequences: Vec<u64> = records.iter().map(|record| record.seq).collect();
    let events = gathering.found.into_iter().zip(readings);
    Ok(Bundle {
        format: FORMAT.to_owned(),
        statement: signer.sign(&statement(signer.verifier(), &text, &checkpoint, &sequences)),
        authorization: text,
        checkpoint: note,
        reading,
        events: events
            .map(|((record, mark), reading)| ProvedEvent {
                sequence: record.seq,
                at_us: record.at,
                epoch: record.epoch,
                salt: Base64(salts.of(record.seq, record.epoch)),
                payload: Base64(record.payload),
                path: tree.path(mark).into_iter().map(Base64).collect(),
                reading,
            })
            .collect(),
    })
}

/// What the engine says of an authorization: these are its events, all of them, up to this checkpoint. A tree shows
/// what is in it; that nothing was left out is said, and signed, so that a lie can be shown by whoever has the event.
fn statement(key: &VerifierKey, authorization: &str, checkpoint: &Checkpoint, sequences: &[u64]) -> String {
    let sequences: Vec<String> = sequences.iter().map(u64::to_string).collect();
    let (name, root) = (key.name(), STANDARD.encode(checkpoint.root));
    format!("{name}{STATEMENT}\n{authorization}\n{}\n{root}\n{}\n", checkpoint.size, sequences.join(" "))
}

impl Bundle {
    /// The file.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("text and numbers are JSON");
        text.push('\n');
        text
    }

    /// Checks a file against a key. Nothing but these two is looked at.
    ///
    /// # Errors
    /// A [`ProofError`]: the first thing in it that does not hold.
    pub fn verify(file: &[u8], key: &VerifierKey) -> Result<Shown, ProofError> {
        let form = |why: serde_json::Error| ProofError::Form(why.to_string());
        let given: Self = serde_json::from_slice(file).map_err(form)?;
        if given.format != FORMAT {
            return Err(ProofError::Form(format!("the format is not {FORMAT:?}")));
        }
        let id = Id::parse(&given.authorization, Thing::Authorization)
            .ok_or_else(|| ProofError::Form("the authorization has no id".to_owned()))?;
        let checkpoint = Checkpoint::open(&given.checkpoint, key).map_err(ProofError::note("checkpoint"))?;
        let said = key.open(&given.statement).map_err(ProofError::note("statement"))?;
        let sequences: Vec<u64> = given.events.iter().map(|event| event.sequence).collect();
        if given.events.is_empty() || given.events.len() > MOST_EVENTS {
            return Err(ProofError::Form("no events, or too many".to_owned()));
        }
        if said != statement(key, &given.authorization, &checkpoint, &sequences) {
            return Err(ProofError::mismatch(
                "the statement is about another authorization, checkpoint or set of events than the file shows",
            ));
        }
        for event in &given.events {
            event.verify(&checkpoint)?;
        }
        let records: Vec<OwnedRecord> = given.events.iter().map(ProvedEvent::record).collect();
        let (reading, readings) = reading::read(id, &records).map_err(ProofError::mismatch)?;
        // What people read in the file has to be what the events say, down to the last member.
        let mut told = given.clone();
        told.reading = reading.clone();
        told.events.iter_mut().zip(&readings).for_each(|(event, reading)| event.reading = reading.clone());
        let whole: serde_json::Value = serde_json::from_slice(file).map_err(form)?;
        if serde_json::to_value(&told).map_err(form)? != whole {
            return Err(ProofError::mismatch("the file says of its events what they do not say"));
        }
        Ok(Shown { authorization: given.authorization, reading, events: readings, checkpoint })
    }
}

impl ProvedEvent {
    fn record(&self) -> OwnedRecord {
        OwnedRecord { seq: self.sequence, at: self.at_us, epoch: self.epoch, payload: self.payload.0.clone() }
    }

    fn verify(&self, checkpoint: &Checkpoint) -> Result<(), ProofError> {
        let leaf = event_leaf(&self.salt.0, self.sequence, self.at_us, self.epoch, &self.payload.0);
        let path: Vec<Hash> = self.path.iter().map(|hash| hash.0).collect();
        let held = self
            .sequence
            .checked_sub(1)
            .is_some_and(|index| verify_inclusion(&leaf, index, checkpoint.size, &path, &checkpoint.root));
        let not = || ProofError::mismatch(format!("event {} is not in the tree that was signed", self.sequence));
        if held { Ok(()) } else { Err(not()) }
    }
}

/// Whether a file says that it is in this format.
#[must_use]
pub fn says(file: &[u8], format: &str) -> bool {
    #[derive(Deserialize)]
    struct Head {
        format: String,
    }
    serde_json::from_slice(file).is_ok_and(|head: Head| head.format == format)
}
