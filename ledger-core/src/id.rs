//! Ids: shard 8 bits, epoch 24 bits, counter 48 bits, told to the outside as a prefix and 16 Crockford base32
//! characters. No randomness: the epoch changes at every start, so that an id given out and then lost by a crash
//! is never given out again.

use minicbor::{Decode, Encode};

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const SHARD: u8 = 0;

/// The number of a thing within its shard. What is durable has a number of its own; the epoch beside it in [`Id`]
/// tells it from what a crash lost.
pub type No = u64;

/// An id within the one shard there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Id {
    /// The start of the engine that gave it out; 24 bits.
    #[n(0)]
    pub epoch: u32,
    /// Counts on over all starts; 48 bits.
    #[n(1)]
    pub no: No,
}

/// What an id names; decides its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Thing {
    Partner,
    User,
    Account,
    Pool,
    Card,
    Authorization,
    TopUp,
    Withdrawal,
    PayIn,
    Payout,
    CryptoDeposit,
    Quote,
    OffRamp,
    ApiKey,
}

impl Thing {
    /// The three letters before the underscore.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Partner => "ptn",
            Self::User => "usr",
            Self::Account => "acc",
            Self::Pool => "pol",
            Self::Card => "crd",
            Self::Authorization => "aut",
            Self::TopUp => "top",
            Self::Withdrawal => "wdr",
            Self::PayIn => "pin",
            Self::Payout => "pay",
            Self::CryptoDeposit => "cdp",
            Self::Quote => "quo",
            Self::OffRamp => "ofr",
            Self::ApiKey => "key",
        }
    }
}

impl Id {
    /// `aut_` and 16 characters.
    pub fn text(self, thing: Thing) -> String {
        let mut out = String::with_capacity(20);
        out.push_str(thing.prefix());
        out.push('_');
        let bits = (u128::from(SHARD) << 72)
            | (u128::from(self.epoch & 0xff_ffff) << 48)
            | u128::from(self.no & 0xffff_ffff_ffff);
        for i in (0..16).rev() {
            let five = usize::try_from((bits >> (i * 5)) & 31).unwrap_or(0);
            out.push(char::from(ALPHABET[five]));
        }
        out
    }

    /// Reads what [`Id::text`] wrote; `None` for another prefix, length, alphabet or shard.
    pub fn parse(text: &str, thing: Thing) -> Option<Self> {
        let rest = text.strip_prefix(thing.prefix())?.strip_prefix('_')?;
        if rest.len() != 16 {
            return None;
        }
        let mut bits = 0u128;
        for c in rest.bytes() {
            let five = ALPHABET.iter().position(|a| *a == c)?;
            bits = (bits << 5) | five as u128;
        }
        if bits >> 72 != u128::from(SHARD) {
            return None;
        }
        Some(Self {
            epoch: u32::try_from((bits >> 48) & 0xff_ffff).ok()?,
            no: u64::try_from(bits & 0xffff_ffff_ffff).ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = Id { epoch: 3, no: 12_345_678 };
        let text = id.text(Thing::Card);
        assert_eq!(text.len(), 20);
        assert_eq!(Id::parse(&text, Thing::Card), Some(id));
        assert_eq!(Id::parse(&text, Thing::User), None);
        assert_eq!(Id::parse("crd_0000000000000000!", Thing::Card), None);
    }
}
