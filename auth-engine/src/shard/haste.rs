//! Whether a partner's answer is worth a short wait before a sync. It must never delay a batch that a reply waits for,
//! nor decide anything but that.

use std::time::Duration;

/// A new value counts for so much of a mean: one in eight.
const WEIGHT: u32 = 8;
/// The thread looks again and again while it waits: not for long.
const MOST: Duration = Duration::from_millis(1);

/// How long answers and syncs take, of late.
#[derive(Debug, Default)]
pub(super) struct Haste {
    answer: Option<Duration>,
    sync: Option<Duration>,
}

impl Haste {
    /// A partner answered after so long.
    pub(super) fn answered(&mut self, after: Duration) {
        self.answer = Some(mean(self.answer, after));
    }

    /// A sync took so long.
    pub(super) fn synced(&mut self, took: Duration) {
        self.sync = Some(mean(self.sync, took));
    }

    /// How long answers are worth waiting for; none when they usually take longer than a sync. An answer that came
    /// during a sync is seen at its end only, and a little later: half a sync is for that.
    pub(super) fn patience(&self) -> Option<Duration> {
        let (answer, sync) = self.answer.zip(self.sync)?;
        let most = (sync + sync / 2).min(MOST);
        (answer < most).then_some(most)
    }
}

fn mean(so_far: Option<Duration>, new: Duration) -> Duration {
    so_far.map_or(new, |so_far| (so_far * (WEIGHT - 1) + new) / WEIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_take_longer_than_a_sync_are_not_waited_for() {
        let us = Duration::from_micros;
        let mut haste = Haste::default();
        assert_eq!(haste.patience(), None, "nothing is known yet");
        haste.synced(us(100));
        haste.answered(us(120));
        assert_eq!(haste.patience(), Some(us(150)));
        (0..32).for_each(|_| haste.answered(us(2_000)));
        assert_eq!(haste.patience(), None);
        (0..32).for_each(|_| haste.answered(us(60)));
        assert_eq!(haste.patience(), Some(us(150)));
    }
}
