//! Which elements a message promises: a set of the numbers 2 to 128. Bit 1 is the mark of the second bitmap, never an
//! element. Owns the order of bits; never touches content.

/// A set of element numbers, the first bit of the first bitmap on top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Elements(pub(crate) u128);

const FIRST: u128 = 1 << 127;

/// The numbers below each, up to one that is above all; looked up because a shift of 128 bits is many instructions.
static BELOW: [u128; 130] = {
    let mut below = [0; 130];
    let mut n = 2;
    while n < 130 {
        below[n] = below[n - 1] | FIRST >> (n - 2);
        n += 1;
    }
    below
};
const SECOND_HALF: u128 = u64::MAX as u128;

impl Elements {
    /// The set of these numbers; what is no element number (0, or above 128) is left out.
    pub const fn of(numbers: &[u8]) -> Elements {
        let mut bits = 0;
        let mut at = 0;
        while at < numbers.len() {
            bits |= Self::bit(numbers[at]);
            at += 1;
        }
        Elements(bits)
    }

    /// What both sets have.
    #[must_use]
    pub const fn and(self, other: Elements) -> Elements {
        Elements(self.0 & other.0)
    }

    /// What either set has.
    #[must_use]
    pub const fn or(self, other: Elements) -> Elements {
        Elements(self.0 | other.0)
    }

    /// What this set has and the other has not.
    #[must_use]
    pub const fn without(self, other: Elements) -> Elements {
        Elements(self.0 & !other.0)
    }

    const fn bit(n: u8) -> u128 {
        match n {
            1..=128 => FIRST >> (n - 1),
            _ => 0,
        }
    }

    /// Whether the number is in the set.
    #[inline]
    pub const fn has(self, n: u8) -> bool {
        // One half at a time: shifts of both are several instructions, and this is asked for every element.
        let half = if n <= 64 { self.0 >> 64 } else { self.0 } as u64;
        matches!(n, 1..=128) && half >> ((128 - n) & 63) & 1 != 0
    }

    #[inline]
    pub(crate) fn insert(&mut self, n: u8) {
        self.0 |= Self::bit(n);
    }

    pub(crate) fn remove(&mut self, n: u8) {
        self.0 &= !Self::bit(n);
    }

    /// Only the numbers below `n`.
    #[inline]
    #[must_use]
    pub fn below(self, n: u8) -> Elements {
        Elements(self.0 & BELOW[usize::from(n.min(129))])
    }

    /// Only the numbers above `n`.
    #[inline]
    pub(crate) fn above(self, n: u8) -> Elements {
        Elements(self.0 & !BELOW[usize::from(n.min(128)) + 1])
    }

    /// Without bit 1: the elements alone.
    pub(crate) fn elements(self) -> Elements {
        Elements(self.0 & !FIRST)
    }

    /// The highest number of the set.
    pub(crate) fn last(self) -> Option<u8> {
        // Bit 127 is element 1 and bit 0 is element 128.
        u8::try_from(128 - self.0.trailing_zeros().min(128)).ok().filter(|n| *n > 0)
    }

    /// The lowest number of the set.
    pub(crate) fn first(self) -> Option<u8> {
        u8::try_from(self.0.leading_zeros() + 1).ok().filter(|n| *n <= 128)
    }

    pub(crate) fn needs_second(self) -> bool {
        self.0 & SECOND_HALF != 0
    }

    pub(crate) fn halves(self) -> (u64, u64) {
        ((self.0 >> 64) as u64, (self.0 & SECOND_HALF) as u64)
    }

    pub(crate) fn from_halves(first: u64, second: u64) -> Elements {
        Elements(u128::from(first) << 64 | u128::from(second))
    }
}

impl IntoIterator for Elements {
    type Item = u8;
    type IntoIter = Numbers;

    fn into_iter(self) -> Numbers {
        let (first, second) = self.halves();
        Numbers { bits: first.reverse_bits(), base: 1, second: second.reverse_bits() }
    }
}

/// The numbers of a set, ascending. Works on one half at a time, its lowest number in the lowest bit, which is the one
/// that is taken off soonest: decode walks it for every message.
#[derive(Debug)]
pub struct Numbers {
    bits: u64,
    base: u8,
    second: u64,
}

impl Iterator for Numbers {
    type Item = u8;

    #[inline]
    fn next(&mut self) -> Option<u8> {
        if self.bits == 0 {
            if self.second == 0 {
                return None;
            }
            (self.bits, self.base, self.second) = (self.second, 65, 0);
        }
        let zeros = self.bits.trailing_zeros();
        self.bits &= self.bits - 1;
        // At most 65 + 63.
        Some(self.base + zeros as u8)
    }
}
