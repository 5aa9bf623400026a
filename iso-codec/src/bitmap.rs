//! Which elements a message promises: a set of the numbers 2 to 128. Bit 1 is the mark of the second bitmap, never an
//! element. Owns the order of bits; never touches content.

/// A set of element numbers, the first bit of the first bitmap on top.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Elements(pub(crate) u128);

const FIRST: u128 = 1 << 127;
const SECOND_HALF: u128 = u64::MAX as u128;

impl Elements {
    fn bit(n: u8) -> u128 {
        match n {
            1..=128 => FIRST >> (n - 1),
            _ => 0,
        }
    }

    #[inline]
    pub(crate) fn has(self, n: u8) -> bool {
        self.0 & Self::bit(n) != 0
    }

    #[inline]
    pub(crate) fn insert(&mut self, n: u8) {
        self.0 |= Self::bit(n);
    }

    /// Without bit 1: the elements alone.
    pub(crate) fn elements(self) -> Elements {
        Elements(self.0 & !FIRST)
    }

    pub(crate) fn needs_second(self) -> bool {
        self.0 & SECOND_HALF != 0
    }

    /// Takes the lowest number out; bit 1 counts as number 1.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u8> {
        if self.0 == 0 {
            return None;
        }
        let zeros = self.0.leading_zeros();
        self.0 &= !(FIRST >> zeros);
        u8::try_from(zeros + 1).ok()
    }

    pub(crate) fn halves(self) -> (u64, u64) {
        ((self.0 >> 64) as u64, (self.0 & SECOND_HALF) as u64)
    }

    pub(crate) fn from_halves(first: u64, second: u64) -> Elements {
        Elements(u128::from(first) << 64 | u128::from(second))
    }
}

impl Iterator for Elements {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        self.pop()
    }
}
