//! What makes each message its own transaction: a number, from which DE7, DE11 and DE63 follow and which follows from
//! DE7 and DE11 of its reply. It owns that relation in both directions; it must never know about sockets.

/// STANs before they come again, a second later in DE7.
pub(crate) const STANS: u64 = 1_000_000;

/// Numbers messages across the runs of one program: no two are the same transaction.
#[derive(Debug, Clone)]
pub(crate) struct Numbers {
    from: jiff::Timestamp,
    next: u64,
}

/// The numbers of one run.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    /// The first.
    pub(crate) first: u64,
    /// DE7 of the first and of each later second that the run touches, decimal digits.
    pub(crate) seconds: Vec<[u8; 10]>,
}

impl Numbers {
    /// Begins at this second: a program that runs later never gives a number again, since a second of DE7 has room
    /// for more messages than a generator can send in one.
    pub(crate) fn new(now: jiff::Timestamp) -> Numbers {
        Numbers { from: now, next: 0 }
    }

    /// Takes numbers for that many messages.
    pub(crate) fn take(&mut self, count: usize) -> Range {
        let first = self.next;
        self.next += u64::try_from(count).unwrap_or(0);
        let seconds = first / STANS..=self.next / STANS;
        Range { first, seconds: seconds.map(|second| self.transmitted(second)).collect() }
    }

    fn transmitted(&self, second: u64) -> [u8; 10] {
        let later = jiff::SignedDuration::from_secs(i64::try_from(second).unwrap_or(0));
        let text = self.from.checked_add(later).unwrap_or(self.from).strftime("%m%d%H%M%S").to_string();
        text.as_bytes().try_into().unwrap_or(*b"0101000000")
    }
}

impl Range {
    /// DE7 and DE11 of a number of this run.
    #[inline]
    pub(crate) fn of(&self, number: u64) -> (&[u8; 10], u32) {
        const NEVER: &[u8; 10] = b"0101000000";
        let at = number / STANS - self.first / STANS;
        (self.seconds.get(at as usize).unwrap_or(NEVER), (number % STANS) as u32)
    }

    /// The number that DE7 and DE11 mean; `None` when it is of no second of this run.
    #[inline]
    pub(crate) fn number(&self, transmitted: [u8; 10], stan: u32) -> Option<u64> {
        // Replies are mostly of the newest second, and there are few.
        let at = self.seconds.iter().rposition(|second| *second == transmitted)?;
        Some((self.first / STANS + at as u64) * STANS + u64::from(stan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_from_its_reply_and_is_given_once() {
        let now = "2026-12-31T23:59:59Z".parse().expect("a time");
        let mut numbers = Numbers::new(now);
        let first = numbers.take(999_999);
        let second = numbers.take(2_000_000);
        assert_eq!((first.first, second.first), (0, 999_999));
        for number in [999_999, 1_000_000, 1_999_999, 2_000_000, 2_999_998] {
            let (transmitted, stan) = second.of(number);
            assert_eq!(second.number(*transmitted, stan), Some(number));
        }
        // Over the turn of the year, and never the same pair twice.
        assert_eq!(second.of(1_000_000).0, b"0101000000");
        assert_eq!(first.number(*second.of(2_000_000).0, 0), None);
    }
}
