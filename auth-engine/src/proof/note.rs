//! Signed notes as `c2sp.org/signed-note` has them, checkpoints as `c2sp.org/tlog-checkpoint` has them, and the one key
//! that signs both.
//!
//! The key is derived from the journal's keys, so that there is no second secret to keep and a journal has one name for
//! ever ([ADR 0019](../../../docs/adr/0019-checkpoints-over-salted-leaves.md)). It must never sign a text that has a
//! control character, and never show the key.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ledger_core::keys::Keyring;
use ledger_core::proof::Hash;
use ledger_core::time::Timestamp;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::{Digest, Sha256};

const CONTEXT: &str = "card authorization ledger 2026 checkpoint signing v1";
/// The signature type of the note format.
const ED25519_TYPE: u8 = 1;
/// What every name begins with; the rest tells one journal from another.
const NAME: &str = "auth-engine/journal/";
/// The line of a checkpoint that tells how far in time it reaches.
const LAST_EVENT: &str = "last-event ";
/// A note that is longer is none of ours, with as many witnesses as it may have gathered.
const MOST_BYTES: usize = 64 << 10;
const SIGNATURE: &str = "\u{2014} ";

/// Why a note is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The key is not in the form that `journal prove --public-key` prints.
    #[error("the key is not one: give it whole, as `journal prove --public-key` prints it")]
    Key,
    /// Not the form of a signed note.
    #[error("it is no signed note")]
    Form,
    /// No signature is of this key.
    #[error("it is not signed with this key")]
    Stranger,
    /// A signature says that it is of this key, and is not.
    #[error("its signature does not hold")]
    Forged,
    /// The text under the signature is not what it should be.
    #[error("the signed text is not what it should be: {0}")]
    Text(&'static str),
}

/// A public key with the name that signatures give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: [u8; 32],
}

impl VerifierKey {
    /// Reads `name+id+key`.
    ///
    /// # Errors
    /// [`NoteError::Key`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let bytes = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let Some((&ED25519_TYPE, public)) = bytes.split_first() else { return Err(NoteError::Key) };
        let public = public.try_into().map_err(|_| NoteError::Key)?;
        let key = Self { name: name.to_owned(), public };
        // The id says again what name and key say: a mistyped one is found here and not by a signature that fails.
        if !is_name(name) || id != key.id_text() {
            return Err(NoteError::Key);
        }
        Ok(key)
    }

    /// By what signatures and checkpoints name this journal.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text of a note that this key signed.
    ///
    /// # Errors
    /// A [`NoteError`] when it did not.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        if note.len() > MOST_BYTES || note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NoteError::Form);
        }
        let at = note.rfind("\n\n").ok_or(NoteError::Form)?;
        let (text, signatures) = (note.get(..=at).ok_or(NoteError::Form)?, note.get(at + 2..).unwrap_or_default());
        let lines = signatures.strip_suffix('\n').filter(|lines| !lines.is_empty()).ok_or(NoteError::Form)?;
        let mut signed = false;
        for line in lines.split('\n') {
            let (name, signature) =
                line.strip_prefix(SIGNATURE).and_then(|rest| rest.split_once(' ')).ok_or(NoteError::Form)?;
            let bytes = STANDARD.decode(signature).map_err(|_| NoteError::Form)?;
            let (id, signature) = bytes.split_first_chunk::<4>().ok_or(NoteError::Form)?;
            // Witnesses sign below us; the format says to pass over whom one does not know.
            if name == self.name && *id == self.id() {
                UnparsedPublicKey::new(&ED25519, &self.public)
                    .verify(text.as_bytes(), signature)
                    .map_err(|_| NoteError::Forged)?;
                signed = true;
            }
        }
        if signed { Ok(text) } else { Err(NoteError::Stranger) }
    }

    fn id(&self) -> [u8; 4] {
        let mut hash = Sha256::new();
        hash.update(self.name.as_bytes());
        hash.update([b'\n', ED25519_TYPE]);
        hash.update(self.public);
        let [a, b, c, d, ..] = <[u8; 32]>::from(hash.finalize());
        [a, b, c, d]
    }

    fn id_text(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id()))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.public);
        write!(f, "{}+{}+{}", self.name, self.id_text(), STANDARD.encode(key))
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '+')
}

/// The key that signs for a journal.
pub struct Signer {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl Signer {
    /// The key of the journal whose keys these are: the same at every start.
    pub fn new(keyring: &Keyring) -> Self {
        let seed = keyring.subkey(CONTEXT);
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).expect("32 bytes are a seed");
        let mut public = [0; 32];
        public.iter_mut().zip(pair.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(Sha256::digest(public));
        let name = format!("{NAME}{:016x}", u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        Self { pair, verifier: VerifierKey { name, public } }
    }

    /// What others check its signatures with.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The note of a text of whole lines. Equal texts give equal notes.
    pub fn sign(&self, text: &str) -> String {
        debug_assert!(text.ends_with('\n'), "a note's text ends with its line");
        let mut signature = self.verifier.id().to_vec();
        signature.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n{SIGNATURE}{} {}\n", self.verifier.name, STANDARD.encode(signature))
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("name", &self.verifier.name).field("key", &"****").finish()
    }
}

/// The tree as it was at a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// Events in it: the sequence of its last.
    pub size: u64,
    /// Its root.
    pub root: Hash,
    /// When the last of them was appended. The journal's time, so that who has the journal finds the same.
    pub last_at: Timestamp,
}

impl Checkpoint {
    /// The signed note.
    pub fn sign(&self, signer: &Signer) -> String {
        let Self { size, root, last_at } = self;
        let name = signer.verifier.name();
        signer.sign(&format!("{name}\n{size}\n{}\n{LAST_EVENT}{}\n", STANDARD.encode(root), last_at.rfc3339()))
    }

    /// What a note says that the key's owner signed about its own journal.
    ///
    /// # Errors
    /// A [`NoteError`].
    pub fn open(note: &str, key: &VerifierKey) -> Result<Self, NoteError> {
        let text = key.open(note)?;
        let no = NoteError::Text;
        let mut lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        if lines.next() != Some(key.name()) {
            return Err(no("another journal, or no checkpoint"));
        }
        let size = lines.next().and_then(whole).ok_or(no("the size is no number"))?;
        let root = lines.next().and_then(hash).ok_or(no("the root is no hash"))?;
        let last_at = lines.next().and_then(|line| line.strip_prefix(LAST_EVENT)).and_then(Timestamp::parse_rfc3339);
        let last_at = last_at.ok_or(no("the time of the last event is no time"))?;
        if lines.next().is_some() {
            return Err(no("more lines than a checkpoint of ours has"));
        }
        Ok(Self { size, root, last_at })
    }
}

/// A number in the one way to write it.
pub(super) fn whole(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// A hash in base64.
pub(super) fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger_core::keys::MasterKey;

    fn signer(seed: u8) -> Signer {
        Signer::new(&Keyring::create(&MasterKey::from_bytes([1; 32]), &[seed; 64]))
    }

    #[test]
    fn the_examples_of_the_note_format_are_read() {
        // c2sp.org/signed-note gives this note; its key is the one of the Go package's documentation.
        let key = VerifierKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let key = key.expect("a key");
        assert_eq!(key.name(), "PeterNeumann");
        assert_eq!(key.open(note), Ok(note.rsplit_once("\n\n").map(|(text, _)| format!("{text}\n")).unwrap().as_str()));
    }

    #[test]
    fn a_key_goes_through_text_and_a_mistyped_one_is_no_key() {
        let key = signer(1).verifier().clone();
        let text = key.to_string();
        assert_eq!(VerifierKey::parse(&format!("{text}\n")), Ok(key));
        for at in 0..text.len() {
            let mut bent = text.clone().into_bytes();
            bent[at] = if bent[at] == b'a' { b'b' } else { b'a' };
            assert_eq!(VerifierKey::parse(&String::from_utf8(bent).unwrap()), Err(NoteError::Key), "at {at}");
        }
    }

    #[test]
    fn a_note_with_any_bit_changed_is_not_believed() {
        let signer = signer(1);
        let said = Checkpoint { size: 12, root: [7; 32], last_at: Timestamp(1_700_000_000_123_456) };
        let note = said.sign(&signer);
        let key = signer.verifier();
        assert_eq!(Checkpoint::open(&note, key), Ok(said));
        assert_eq!(note, said.sign(&signer), "nothing in it is random");
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut bent = note.clone().into_bytes();
                bent[at] ^= 1 << bit;
                if let Ok(bent) = String::from_utf8(bent) {
                    assert!(Checkpoint::open(&bent, key).is_err(), "byte {at}, bit {bit}");
                }
            }
        }
        assert_eq!(key.open("\n\n"), Err(NoteError::Form));
        assert_eq!(key.open(&note.repeat(400)), Err(NoteError::Form));
    }

    #[test]
    fn witnesses_below_are_passed_over_and_strangers_alone_are_not_enough() {
        let (ours, other) = (signer(1), signer(2));
        let said = Checkpoint { size: 1, root: [7; 32], last_at: Timestamp(0) };
        let note = said.sign(&ours);
        let theirs = other.sign(note.split_once("\n\n").map(|(text, _)| format!("{text}\n")).unwrap().as_str());
        let (_, witness) = theirs.split_once("\n\n").unwrap();
        assert_eq!(Checkpoint::open(&format!("{note}{witness}"), ours.verifier()), Ok(said));
        assert_eq!(Checkpoint::open(&note, other.verifier()), Err(NoteError::Stranger));
        let foreign = Checkpoint::open(&format!("{note}{witness}"), other.verifier());
        assert!(matches!(foreign, Err(NoteError::Text(_))), "signed by it, and about another journal: {foreign:?}");
        assert!(!format!("{ours:?}").contains(&STANDARD.encode(ours.pair.public_key().as_ref())));
    }
}
