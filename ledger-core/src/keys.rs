//! The keys: one master key wraps data keys (they seal) and one fingerprint key (it finds a PAN again).
//!
//! Pure: random bytes are arguments. It must never print a key, never keep the master key beyond a call, and
//! never choose a nonce of its own: a nonce is where an event stands in the journal.

use std::fmt;

use aes::Aes256Enc;
use aes_gcm_siv::aead::{AeadInPlace, KeyInit};
use aes_gcm_siv::{AesGcmSiv, Nonce as GcmNonce, Tag};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes that [`Keyring::seal`] adds to the plain text: one of key id, sixteen of tag.
pub const SEAL_OVERHEAD: usize = 1 + TAG;

/// The greatest epoch a nonce and an id have room for (24 bits).
pub const MAX_EPOCH: u32 = (1 << 24) - 1;

/// The most data keys a segment header has room for.
pub const MAX_DATA_KEYS: usize = 64;

const TAG: usize = 16;
/// A wrapped key: 32 bytes of key and the tag.
pub(crate) const WRAPPED: usize = 32 + TAG;

const CHECK_CONTEXT: &str = "card authorization ledger 2026 master key check value v1";
const WRAP_CONTEXT: &str = "card authorization ledger 2026 master key wrapping v1";
const KEYED_HASH_CONTEXT: &str = "card authorization ledger 2026 keyed hash v1";

/// AES-256-GCM-SIV. The mode only ever encrypts blocks, and makes a key for every message: half of a key's schedule, the
/// one for decrypting blocks, would be made for nothing.
type Aes256GcmSiv = AesGcmSiv<Aes256Enc>;

/// Why a key or sealed bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not 64 hexadecimal digits.
    #[error("the master key is not 64 hexadecimal digits: restore the master key file from its copy")]
    BadMasterKey,
    /// The check value does not fit: another master key made these wrapped keys.
    #[error("this master key did not make this journal: point the configuration at the one that did")]
    WrongMasterKey,
    /// The master key is right but a wrapped key is not what it wrapped.
    #[error("a wrapped key is damaged: restore the journal from a copy")]
    DamagedKey,
    /// The sealed bytes name a data key this keyring does not hold.
    #[error("sealed under data key {0}, which this journal does not hold: the bytes are damaged or foreign")]
    UnknownKey(u8),
    /// The sealed bytes, or the place they are said to come from, were changed.
    #[error("the sealed bytes do not open at this place: they are damaged or moved")]
    NotAuthentic,
}

/// The key that wraps all others. It is read at start and dropped after the keyring is open.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// A master key from 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Reads 64 hexadecimal digits; white space around them (a file's last newline) is allowed.
    ///
    /// # Errors
    /// [`KeyError::BadMasterKey`] when the text is anything else.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let digits = text.trim().as_bytes();
        if digits.len() != 64 {
            return Err(KeyError::BadMasterKey);
        }
        let mut key = Self([0; 32]);
        for (byte, pair) in key.0.iter_mut().zip(digits.chunks_exact(2)) {
            let mut value = 0u8;
            for digit in pair {
                let nibble = char::from(*digit).to_digit(16).ok_or(KeyError::BadMasterKey)?;
                value = (value << 4) | u8::try_from(nibble).map_err(|_| KeyError::BadMasterKey)?;
            }
            *byte = value;
        }
        Ok(key)
    }

    /// The 64 hexadecimal digits a key file holds. The text is wiped when it is dropped.
    pub fn to_hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(64));
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        text
    }

    fn check(&self) -> [u8; 16] {
        first_16(&blake3::derive_key(CHECK_CONTEXT, &self.0))
    }

    fn wrapping(&self) -> Aes256GcmSiv {
        let key = Zeroizing::new(blake3::derive_key(WRAP_CONTEXT, &self.0));
        Aes256GcmSiv::new((&*key).into())
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterKey(****)")
    }
}

/// One data key as a segment header carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrappedDataKey {
    /// The id that sealed bytes name.
    pub id: u8,
    /// The key under the master key, with its tag.
    pub bytes: [u8; WRAPPED],
}

/// All keys as a segment header carries them: useless without the master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedKeys {
    /// The data key that seals from now on.
    pub current: u8,
    /// Every data key of this journal, 1 to [`MAX_DATA_KEYS`], so that the newest header opens the oldest event.
    pub data: Vec<WrappedDataKey>,
    /// The fingerprint key under the master key.
    pub fingerprint: [u8; WRAPPED],
    /// Tells a wrong master key from damage.
    pub check: [u8; 16],
}

/// Where sealed bytes stand: it makes the nonce unique, and moved bytes do not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce {
    /// The epoch of the start that sealed, 24 bits: a cut tail's sequences come again under a later one.
    pub epoch: u32,
    /// The sequence of the event, 56 bits.
    pub seq: u64,
    /// Which sealed field of the event.
    pub field: u16,
}

impl Nonce {
    fn bytes(self) -> [u8; 12] {
        debug_assert!(self.epoch <= MAX_EPOCH && self.seq >> 56 == 0, "nonce out of range");
        let [e0, e1, e2, _] = self.epoch.to_le_bytes();
        let [s0, s1, s2, s3, s4, s5, s6, _] = self.seq.to_le_bytes();
        let [f0, f1] = self.field.to_le_bytes();
        [e0, e1, e2, s0, s1, s2, s3, s4, s5, s6, f0, f1]
    }
}

/// The opened keys of one journal.
pub struct Keyring {
    data: Vec<(u8, Aes256GcmSiv)>,
    current: usize,
    fingerprint: Zeroizing<[u8; 32]>,
    keyed_hash: Zeroizing<[u8; 32]>,
    wrapped: WrappedKeys,
}

impl Keyring {
    /// New keys for a new journal: the first 32 random bytes become the data key, the last 32 the fingerprint key.
    pub fn create(master: &MasterKey, random: &[u8; 64]) -> Self {
        let mut data = Zeroizing::new([0u8; 32]);
        let mut fingerprint = Zeroizing::new([0u8; 32]);
        for (to, from) in data.iter_mut().chain(fingerprint.iter_mut()).zip(random) {
            *to = *from;
        }
        let cipher = master.wrapping();
        let wrapped = WrappedKeys {
            current: 1,
            data: vec![WrappedDataKey { id: 1, bytes: wrap(&cipher, Purpose::Data(1), &data) }],
            fingerprint: wrap(&cipher, Purpose::Fingerprint, &fingerprint),
            check: master.check(),
        };
        Self {
            data: vec![(1, Aes256GcmSiv::new((&*data).into()))],
            current: 0,
            keyed_hash: Zeroizing::new(blake3::derive_key(KEYED_HASH_CONTEXT, &*fingerprint)),
            fingerprint,
            wrapped,
        }
    }

    /// The keys as a segment header carries them.
    pub fn wrapped(&self) -> WrappedKeys {
        self.wrapped.clone()
    }

    /// Opens the keys of a segment header.
    ///
    /// # Errors
    /// [`KeyError::WrongMasterKey`] when the check value is another's, [`KeyError::DamagedKey`] when a key does not open.
    pub fn unwrap(master: &MasterKey, wrapped: &WrappedKeys) -> Result<Self, KeyError> {
        // The check value is stored in clear, so there is nothing for a timing to tell.
        if master.check() != wrapped.check {
            return Err(KeyError::WrongMasterKey);
        }
        let cipher = master.wrapping();
        let mut data = Vec::with_capacity(wrapped.data.len());
        for key in &wrapped.data {
            let opened = unwrap(&cipher, Purpose::Data(key.id), &key.bytes)?;
            data.push((key.id, Aes256GcmSiv::new((&*opened).into())));
        }
        let current = data.iter().position(|(id, _)| *id == wrapped.current).ok_or(KeyError::DamagedKey)?;
        let fingerprint = unwrap(&cipher, Purpose::Fingerprint, &wrapped.fingerprint)?;
        let keyed_hash = Zeroizing::new(blake3::derive_key(KEYED_HASH_CONTEXT, &*fingerprint));
        Ok(Self { data, current, fingerprint, keyed_hash, wrapped: wrapped.clone() })
    }

    /// Appends the sealed form of `plain` to `out`: key id (1 byte), cipher text, tag (16 bytes).
    /// Does not allocate when `out` has room for [`SEAL_OVERHEAD`] bytes more than `plain`.
    pub fn seal(&self, nonce: Nonce, plain: &[u8], out: &mut Vec<u8>) {
        let Some((id, cipher)) = self.data.get(self.current) else {
            unreachable!("`current` is set from a position in `data` and neither changes");
        };
        out.push(*id);
        let start = out.len();
        out.extend_from_slice(plain);
        let body = out.get_mut(start..).unwrap_or_default();
        // The cipher's only refusal is a text beyond 64 GiB, which no event can hold.
        let tag = cipher
            .encrypt_in_place_detached(&GcmNonce::from(nonce.bytes()), &[*id], body)
            .expect("an event is shorter than the cipher's limit");
        out.extend_from_slice(&tag);
    }

    /// Opens what [`Keyring::seal`] made for the same nonce.
    ///
    /// # Errors
    /// [`KeyError::UnknownKey`] or [`KeyError::NotAuthentic`].
    pub fn open(&self, nonce: Nonce, sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
        let (id, rest) = sealed.split_first().ok_or(KeyError::NotAuthentic)?;
        let (_, cipher) = self.data.iter().find(|(known, _)| known == id).ok_or(KeyError::UnknownKey(*id))?;
        let (body, tag) = rest.split_last_chunk::<TAG>().ok_or(KeyError::NotAuthentic)?;
        if nonce.epoch > MAX_EPOCH || nonce.seq >> 56 != 0 {
            return Err(KeyError::NotAuthentic);
        }
        let mut plain = body.to_vec();
        cipher
            .decrypt_in_place_detached(&GcmNonce::from(nonce.bytes()), &[*id], &mut plain, Tag::from_slice(tag))
            .map_err(|_| KeyError::NotAuthentic)?;
        Ok(plain)
    }

    /// The fingerprint by which a card is found from its PAN's digits: equal digits, equal fingerprint, for ever.
    pub fn fingerprint(&self, pan_digits: &[u8]) -> [u8; 16] {
        first_16(blake3::keyed_hash(&self.fingerprint, pan_digits).as_bytes())
    }

    /// A key of its own for another purpose, derived from the fingerprint key and so the same for ever. Each context is
    /// a text that nothing else uses.
    pub fn subkey(&self, context: &'static str) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(context, &*self.fingerprint))
    }

    /// A hash under a key derived from the fingerprint key, for keys of repeats: nobody outside can make two meet.
    pub fn keyed_hash(&self, text: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(&self.keyed_hash, text).as_bytes()
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("data_keys", &self.data.len()).field("secrets", &"****").finish()
    }
}

#[derive(Clone, Copy)]
enum Purpose {
    Data(u8),
    Fingerprint,
}

impl Purpose {
    /// What binds a wrapped key to its use: one cannot be passed off as another.
    fn label(self) -> [u8; 2] {
        match self {
            Self::Data(id) => [b'd', id],
            Self::Fingerprint => [b'f', 0],
        }
    }

    fn nonce(self) -> GcmNonce {
        let [kind, id] = self.label();
        let mut nonce = GcmNonce::default();
        // Each wrapped key has a nonce of its own under the master key; the mode would forgive a repeat as well.
        for (to, from) in nonce.iter_mut().zip([kind, id]) {
            *to = from;
        }
        nonce
    }
}

fn wrap(cipher: &Aes256GcmSiv, purpose: Purpose, key: &[u8; 32]) -> [u8; WRAPPED] {
    let mut body = *key;
    let tag = cipher
        .encrypt_in_place_detached(&purpose.nonce(), &purpose.label(), &mut body)
        .expect("32 bytes are within the cipher's limit");
    let mut wrapped = [0; WRAPPED];
    for (to, from) in wrapped.iter_mut().zip(body.iter().chain(tag.iter())) {
        *to = *from;
    }
    wrapped
}

fn unwrap(cipher: &Aes256GcmSiv, purpose: Purpose, wrapped: &[u8; WRAPPED]) -> Result<Zeroizing<[u8; 32]>, KeyError> {
    let (body, tag) = wrapped.split_first_chunk::<32>().ok_or(KeyError::DamagedKey)?;
    let mut key = Zeroizing::new(*body);
    cipher
        .decrypt_in_place_detached(&purpose.nonce(), &purpose.label(), &mut *key, Tag::from_slice(tag))
        .map_err(|_| KeyError::DamagedKey)?;
    Ok(key)
}

fn first_16(hash: &[u8; 32]) -> [u8; 16] {
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().zip(hash) {
        *to = *from;
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> (MasterKey, Keyring) {
        let master = MasterKey::from_bytes([7; 32]);
        let random = std::array::from_fn(|i| i as u8);
        let ring = Keyring::create(&master, &random);
        (master, ring)
    }

    const AT: Nonce = Nonce { epoch: 3, seq: 77, field: 1 };

    #[test]
    fn what_is_sealed_opens_only_where_it_was_sealed() {
        let (master, ring) = ring();
        let mut out = vec![9];
        ring.seal(AT, b"5351101234564242", &mut out);
        assert_eq!(out.len(), 1 + 16 + SEAL_OVERHEAD);
        let sealed = &out[1..];
        let again = Keyring::unwrap(&master, &ring.wrapped()).unwrap();
        assert_eq!(again.open(AT, sealed).unwrap(), b"5351101234564242");
        for moved in [
            Nonce { epoch: 4, ..AT },
            Nonce { seq: 78, ..AT },
            Nonce { field: 2, ..AT },
            Nonce { epoch: u32::MAX, ..AT },
            Nonce { seq: u64::MAX, ..AT },
        ] {
            assert_eq!(again.open(moved, sealed), Err(KeyError::NotAuthentic));
        }
        for at in 0..sealed.len() {
            let mut bent = sealed.to_vec();
            bent[at] ^= 1;
            assert!(again.open(AT, &bent).is_err());
            assert!(again.open(AT, &sealed[..at]).is_err());
        }
    }

    #[test]
    fn a_cut_tail_sealed_again_shares_nothing_with_the_first_time() {
        let (_, ring) = ring();
        let (mut first, mut second) = (Vec::new(), Vec::new());
        ring.seal(AT, &[0; 64], &mut first);
        ring.seal(Nonce { epoch: 4, ..AT }, &[0; 64], &mut second);
        assert_ne!(first, second);
    }

    #[test]
    fn a_wrong_master_key_is_told_from_damage() {
        let (master, ring) = ring();
        let other = MasterKey::from_bytes([8; 32]);
        assert_eq!(Keyring::unwrap(&other, &ring.wrapped()).unwrap_err(), KeyError::WrongMasterKey);
        let mut bent = ring.wrapped();
        bent.data[0].bytes[3] ^= 1;
        assert_eq!(Keyring::unwrap(&master, &bent).unwrap_err(), KeyError::DamagedKey);
        let mut bent = ring.wrapped();
        bent.fingerprint[40] ^= 1;
        assert_eq!(Keyring::unwrap(&master, &bent).unwrap_err(), KeyError::DamagedKey);
    }

    #[test]
    fn fingerprints_and_hashes_survive_a_restart() {
        let (master, ring) = ring();
        let again = Keyring::unwrap(&master, &ring.wrapped()).unwrap();
        assert_eq!(ring.fingerprint(b"5351101234564242"), again.fingerprint(b"5351101234564242"));
        assert_ne!(ring.fingerprint(b"5351101234564242"), ring.fingerprint(b"5351101234564243"));
        assert_eq!(ring.keyed_hash(b"k"), again.keyed_hash(b"k"));
        assert_ne!(ring.keyed_hash(b"k")[..16], ring.fingerprint(b"k"));
    }

    #[test]
    fn hex_goes_both_ways_and_nothing_prints_a_key() {
        let master = MasterKey::from_bytes(std::array::from_fn(|i| (i * 7) as u8));
        let text = master.to_hex();
        assert_eq!(MasterKey::from_hex(&format!("{}\n", *text)).unwrap().0, master.0);
        assert_eq!(MasterKey::from_hex("zz").unwrap_err(), KeyError::BadMasterKey);
        assert_eq!(MasterKey::from_hex(&"g".repeat(64)).unwrap_err(), KeyError::BadMasterKey);
        assert_eq!(format!("{master:?}"), "MasterKey(****)");
        let (_, ring) = ring();
        assert_eq!(format!("{ring:?}"), r#"Keyring { data_keys: 1, secrets: "****" }"#);
    }
}
