//! From when on a tap that waited is refused rather than decided (ADR 0015): when its answer would hardly be durable in
//! time, and when the queue that it stood in does not pass. It must never look at what a tap says.

/// With less than this left a tap is refused rather than begun.
pub(super) const LEAST_US: i64 = 50_000;
/// Batches that leave frames waiting, one after the other, before their queue is one that stands.
const STANDING: u32 = 3;

/// What the last batches say about the next.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Since when every batch left frames waiting, and how many were released since.
    left_over: Option<(i64, u32)>,
    /// When the batch at hand was complete.
    gathered_us: i64,
    /// How long the last ones took from then to their release.
    commits: [i64; 3],
}

impl Queue {
    /// A batch is complete and about to become durable; `waiting` says whether frames are left for the next.
    pub(super) fn gathered(&mut self, waiting: bool, now_us: i64) {
        self.gathered_us = now_us;
        self.left_over = if waiting { self.left_over.or(Some((now_us, 0))) } else { None };
    }

    /// It is durable.
    pub(super) fn released(&mut self, now_us: i64) {
        self.commits.rotate_right(1);
        self.commits[0] = now_us.saturating_sub(self.gathered_us);
        if let Some((_, batches)) = &mut self.left_over {
            *batches = batches.saturating_add(1);
        }
    }

    /// Whether a tap is refused of whose budget so much is left. A stall lasts for one batch, and what came in it is
    /// still served; a queue that is there after several batches only grows, and who waits in it grows too old: refused
    /// from a quarter of the budget on, it stays that short, and is gone as soon after the overload.
    pub(super) fn refuses(&self, left_us: i64, budget_us: i64, now_us: i64) -> bool {
        // The quickest of the last: one stalled sync must not refuse those who come after it.
        let commit = self.commits.iter().copied().min().unwrap_or(0);
        // At most half, so that the next commit can show that the disk is quick again.
        let needed = LEAST_US.saturating_add(commit.saturating_mul(2)).min(budget_us / 2).max(LEAST_US);
        let patience = budget_us / 4;
        let standing = self
            .left_over
            .is_some_and(|(since, batches)| batches >= STANDING && now_us.saturating_sub(since) >= patience);
        left_us < needed || (standing && budget_us.saturating_sub(left_us) >= patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: i64 = 2_000_000;

    /// Batches that each take so long to become durable.
    fn batches(queue: &mut Queue, from: i64, waiting: bool, commits: &[i64]) -> i64 {
        commits.iter().fold(from, |at, took| {
            queue.gathered(waiting, at);
            queue.released(at + took);
            at + took
        })
    }

    #[test]
    fn after_a_stall_all_that_can_be_answered_is() {
        let mut queue = Queue::default();
        let now = batches(&mut queue, 0, true, &[400, 1_800_000]);
        assert!(!queue.refuses(BUDGET - 1_800_000, BUDGET, now));
        assert!(queue.refuses(LEAST_US - 1, BUDGET, now), "too little is left for any answer");
    }

    #[test]
    fn a_standing_queue_is_held_to_a_quarter_of_the_budget() {
        let mut queue = Queue::default();
        let now = batches(&mut queue, 0, true, &[250_000; 3]);
        assert!(queue.refuses(BUDGET * 3 / 4, BUDGET, now));
        assert!(!queue.refuses(BUDGET * 3 / 4 + 1, BUDGET, now));
        queue.gathered(false, now);
        assert!(!queue.refuses(BUDGET * 3 / 4, BUDGET, now), "it has passed");
    }

    #[test]
    fn short_batches_that_follow_each_other_refuse_nothing_yet() {
        let mut queue = Queue::default();
        let now = batches(&mut queue, 0, true, &[4_000; 100]);
        assert!(!queue.refuses(BUDGET / 2, BUDGET, now));
    }

    #[test]
    fn a_slow_disk_needs_time_but_never_more_than_half() {
        let mut queue = Queue::default();
        let now = batches(&mut queue, 0, false, &[300_000; 3]);
        assert!(queue.refuses(649_999, BUDGET, now) && !queue.refuses(650_000, BUDGET, now));
        let now = batches(&mut queue, now, false, &[1_500_000; 3]);
        assert!(!queue.refuses(BUDGET / 2, BUDGET, now));
    }
}
