//! The card number as a value that masks itself. Owns the masking rule; never heap-allocates a number in clear.

use std::fmt;
use zeroize::Zeroize;

/// A card number of 8 to 19 digits, inline, wiped when dropped; `Debug` and `Display` print it masked.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pan {
    digits: [u8; 19],
    len: u8,
}

impl Pan {
    /// From ASCII digits; `None` when there are fewer than 8, more than 19, or something else among them.
    pub fn from_ascii(text: &[u8]) -> Option<Pan> {
        if !(8..=19).contains(&text.len()) || !text.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut digits = [0u8; 19];
        digits.get_mut(..text.len())?.copy_from_slice(text);
        Some(Pan { digits, len: u8::try_from(text.len()).ok()? })
    }

    /// The number in clear, ASCII digits.
    pub fn as_digits(&self) -> &[u8] {
        self.digits.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Whether the last digit is the Luhn check digit of the others.
    pub fn luhn_valid(&self) -> bool {
        let sum: u32 = self
            .as_digits()
            .iter()
            .rev()
            .enumerate()
            .map(|(place, digit)| {
                let value = u32::from(digit.wrapping_sub(b'0'));
                if place % 2 == 1 { if value > 4 { value * 2 - 9 } else { value * 2 } } else { value }
            })
            .sum();
        sum.is_multiple_of(10)
    }

    /// The last four digits, ASCII.
    pub fn last4(&self) -> [u8; 4] {
        self.as_digits().last_chunk().copied().unwrap_or(*b"0000")
    }

    /// The number with its middle starred: the first 8 and last 4 stay from 16 digits up, else the first 6 and last 4.
    pub fn masked(&self) -> String {
        let mut text = String::with_capacity(19);
        for ch in masked_chars(self.as_digits()) {
            text.push(ch);
        }
        text
    }
}

/// Masks a run of ASCII digits as [`Pan::masked`] does; one too short to hide anything that way is starred whole.
pub fn mask_digits(digits: &[u8]) -> String {
    masked_chars(digits).collect()
}

fn masked_chars(digits: &[u8]) -> impl Iterator<Item = char> + '_ {
    let head = match digits.len() {
        0..=10 => 0,
        11..=15 => 6,
        _ => 8,
    };
    let tail = if head == 0 { 0 } else { 4 };
    digits
        .iter()
        .enumerate()
        .map(move |(at, ch)| if at < head || at + tail >= digits.len() { char::from(*ch) } else { '*' })
}

impl fmt::Display for Pan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        masked_chars(self.as_digits()).try_for_each(|ch| fmt::Write::write_char(f, ch))
    }
}

impl fmt::Debug for Pan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Drop for Pan {
    fn drop(&mut self) {
        self.digits.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_eight_and_four_from_sixteen_digits_up_else_six_and_four() {
        let table = [
            ("5351101200004242", "53511012****4242"),
            ("5351101234567890123", "53511012*******0123"),
            ("535110123456789", "535110*****6789"),
            ("5351101234567", "535110***4567"),
            ("53511012345", "535110*2345"),
            ("53511012", "********"),
        ];
        for (clear, masked) in table {
            let pan = Pan::from_ascii(clear.as_bytes()).expect(clear);
            assert_eq!(pan.to_string(), masked);
            assert_eq!(format!("{pan:?}"), masked);
            assert_eq!(pan.masked(), masked);
            assert_eq!(pan.as_digits(), clear.as_bytes());
        }
    }

    #[test]
    fn luhn_and_limits() {
        assert!(Pan::from_ascii(b"4111111111111111").is_some_and(|p| p.luhn_valid()));
        assert!(Pan::from_ascii(b"4111111111111112").is_some_and(|p| !p.luhn_valid()));
        assert!(Pan::from_ascii(b"5555555555554444").is_some_and(|p| p.luhn_valid() && p.last4() == *b"4444"));
        assert_eq!(Pan::from_ascii(b"1234567"), None);
        assert_eq!(Pan::from_ascii(b"12345678901234567890"), None);
        assert_eq!(Pan::from_ascii(b"411111111111111D"), None);
    }
}
