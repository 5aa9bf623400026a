//! The message type: four digits, and what can be told from each of them. Never knows which types an engine answers.

use std::fmt;

/// A message type indicator, one decimal digit a nibble: `Mti(0x0100)` is written and printed `0100`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mti(pub u16);

impl Mti {
    /// From four digit values, each 0–9; `None` when one is larger.
    pub fn from_digits(digits: [u8; 4]) -> Option<Mti> {
        let mut value = 0u16;
        for digit in digits {
            if digit > 9 {
                return None;
            }
            value = value << 4 | u16::from(digit);
        }
        Some(Mti(value))
    }

    /// From text such as `0100`; `None` for anything but four digits.
    pub fn parse(text: &str) -> Option<Mti> {
        let bytes: [u8; 4] = text.as_bytes().try_into().ok()?;
        Mti::from_digits(bytes.map(|b| b.wrapping_sub(b'0')))
    }

    /// The four digit values, first to last.
    pub fn digits(self) -> [u8; 4] {
        let [high, low] = self.0.to_be_bytes();
        [high >> 4, high & 15, low >> 4, low & 15]
    }

    /// Version digit: 0 for ISO 8583:1987.
    pub fn version(self) -> u8 {
        self.digits()[0]
    }

    /// Class digit: 1 authorization, 2 financial, 3 file, 4 reversal, 6 administrative, 8 network management.
    pub fn class(self) -> u8 {
        self.digits()[1]
    }

    /// Function digit: 0 request, 1 its response, 2 advice, 3 its response, 4 notification, 8 and 9 acknowledgements.
    pub fn function(self) -> u8 {
        self.digits()[2]
    }

    /// Origin digit: even for a first sending, odd for its repeat.
    pub fn origin(self) -> u8 {
        self.digits()[3]
    }

    /// Whether a response to it is expected: requests and advices.
    pub fn is_request(self) -> bool {
        matches!(self.function(), 0 | 2)
    }

    /// Whether it is an advice: somebody decided already.
    pub fn is_advice(self) -> bool {
        self.function() == 2
    }

    /// Whether it answers a request or an advice.
    pub fn is_response(self) -> bool {
        matches!(self.function(), 1 | 3)
    }

    /// Whether its origin digit says that it was sent before.
    pub fn is_repeat(self) -> bool {
        self.origin() & 1 == 1
    }

    /// The type that answers it: 0100 and 0101 give 0110, 0421 gives 0430, 0302 gives 0312.
    pub fn response(self) -> Mti {
        Mti(self.without_repeat().0 | 0x0010)
    }

    /// The same type with the repeat mark cleared: 0101 gives 0100, 0421 gives 0420.
    pub fn without_repeat(self) -> Mti {
        Mti(self.0 & !1)
    }
}

impl fmt::Display for Mti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}

impl fmt::Debug for Mti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_repeats_follow_the_digits() {
        let table = [
            ("0100", "0110"),
            ("0101", "0110"),
            ("0120", "0130"),
            ("0121", "0130"),
            ("0200", "0210"),
            ("0400", "0410"),
            ("0401", "0410"),
            ("0420", "0430"),
            ("0421", "0430"),
            ("0620", "0630"),
            ("0800", "0810"),
            ("0302", "0312"),
            ("0304", "0314"),
        ];
        for (request, response) in table {
            let mti = Mti::parse(request).expect(request);
            assert!(mti.is_request(), "{request}");
            assert_eq!(mti.response().to_string(), response);
            assert!(mti.response().is_response());
        }
        assert_eq!(Mti(0x0421).without_repeat(), Mti(0x0420));
        assert!(!Mti(0x0190).is_request() && !Mti(0x0180).is_request());
        assert_eq!(Mti::parse("01A0"), None);
        assert_eq!(Mti::parse("010"), None);
    }
}
