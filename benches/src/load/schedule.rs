//! Arrivals, fixed before the first byte is sent: when, which kind, which card, about which earlier one. It owns the
//! seeded draws and the slot that a message keeps from its arrival to its reply; it must never look at a clock.

use super::mix::{Kind, Mix, Spread};
use crate::fault::Fault;
use clap::ValueEnum;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1, Zipf};
use std::time::Duration;

/// A reversal means a tap that is at least this old in an open loop, so that it was answered.
const REVERSED_AFTER: Duration = Duration::from_secs(1);
/// A repeat follows its original by at most this many messages.
const REPEATED_WITHIN: usize = 64;

/// How arrivals are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// Independent of each other, as cardholders are.
    Poisson,
    /// All alike.
    Constant,
}

/// One message from its arrival to its reply. Half a cache line, because two million of them pass in ten seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Slot {
    /// When it is to be sent, nanoseconds since the start; in a closed loop when it was sent.
    pub(crate) due: u64,
    /// From `due` to its reply, nanoseconds; 0 while there is none.
    pub(crate) took: u64,
    /// From `due` to its write, nanoseconds.
    pub(crate) lag: u32,
    /// Which card.
    pub(crate) card: u32,
    /// Minor units; of a repeat and a reversal the position of the original.
    pub(crate) detail: u32,
    /// What it is.
    pub(crate) kind: Kind,
    /// DE39 of its reply.
    pub(crate) code: [u8; 2],
}

/// What a schedule is drawn from.
#[derive(Debug, Clone)]
pub(crate) struct Draw<'a> {
    /// Shares, cards, amounts.
    pub(crate) mix: &'a Mix,
    /// How many cards there are.
    pub(crate) cards: usize,
    /// The same seed gives the same schedule.
    pub(crate) seed: u64,
}

/// Draws kinds, cards and amounts one after the other.
struct Drawer<'a> {
    rng: ChaCha12Rng,
    mix: &'a Mix,
    cards: u32,
    zipf: Option<Zipf<f64>>,
    bounds: [f64; 5],
    reversed_after: usize,
    /// Where the search for the next tap to reverse goes on: each is reversed once at most.
    reverse_from: usize,
    /// The newest tap that was repeated: each is repeated once at most.
    repeated_to: Option<usize>,
}

impl<'a> Draw<'a> {
    /// An open loop: arrivals at `rate` a second until `length` is over.
    pub(crate) fn open(&self, arrivals: Arrivals, rate: f64, length: Duration) -> Result<Vec<Slot>, Fault> {
        if !(rate.is_finite() && rate > 0.0 && rate <= 10_000_000.0) {
            return Err(Fault::Usage(format!("a rate of {rate}/s: it is above 0 and at most 10,000,000")));
        }
        let mut drawer = self.drawer((rate * REVERSED_AFTER.as_secs_f64()) as usize)?;
        let gap = 1e9 / rate;
        let end = length.as_nanos() as f64;
        let mut slots = Vec::with_capacity((rate * length.as_secs_f64() * 1.05) as usize + 64);
        let mut at = 0.0f64;
        loop {
            at += match arrivals {
                Arrivals::Constant => gap,
                Arrivals::Poisson => {
                    let unit: f64 = Exp1.sample(&mut drawer.rng);
                    gap * unit
                }
            };
            if at >= end {
                return Ok(slots);
            }
            let slot = drawer.next(&slots, at as u64);
            slots.push(slot);
        }
    }

    /// A closed loop: so many messages, without times.
    pub(crate) fn closed(&self, in_flight: usize, count: usize) -> Result<Vec<Slot>, Fault> {
        let mut drawer = self.drawer(in_flight.saturating_mul(8))?;
        let mut slots = Vec::with_capacity(count);
        while slots.len() < count {
            let slot = drawer.next(&slots, 0);
            slots.push(slot);
        }
        Ok(slots)
    }

    fn drawer(&self, reversed_after: usize) -> Result<Drawer<'a>, Fault> {
        let cards = u32::try_from(self.cards).ok().filter(|cards| *cards > 0);
        let cards =
            cards.ok_or_else(|| Fault::Usage(format!("{} cards: 1 to 4,294,967,295 can be used", self.cards)))?;
        let zipf = match self.mix.cards.pick {
            Spread::Uniform => None,
            Spread::Zipf => {
                let zipf = Zipf::new(f64::from(cards), self.mix.cards.exponent);
                Some(zipf.map_err(|error| Fault::Usage(format!("Zipf over {cards} cards: {error}")))?)
            }
        };
        let weights = self.mix.shares.weights();
        let sum: f64 = weights.iter().sum();
        let mut upto = 0.0;
        let bounds = weights.map(|weight| {
            upto += weight / sum;
            upto
        });
        let rng = ChaCha12Rng::seed_from_u64(self.seed);
        let mix = self.mix;
        Ok(Drawer { rng, mix, cards, zipf, bounds, reversed_after, reverse_from: 0, repeated_to: None })
    }
}

impl Drawer<'_> {
    /// A number from 0 up to, not including, `below`.
    fn below(&mut self, below: u32) -> u32 {
        // The bias of a multiply-shift over 2^32 is below one in a thousand for a million cards.
        ((u64::from(self.rng.next_u32()) * u64::from(below)) >> 32) as u32
    }

    fn unit(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn next(&mut self, before: &[Slot], due: u64) -> Slot {
        let at = self.unit();
        let kind = self.bounds.iter().zip(Kind::ALL).find(|(bound, _)| at < **bound).map_or(Kind::Approve, |(_, k)| k);
        let about = match kind {
            Kind::Approve | Kind::Decline | Kind::Advice => None,
            Kind::Reversal => self.original_of_reversal(before),
            Kind::Repeat => self.original_of_repeat(before),
        };
        let (kind, card, detail) = match (kind, about) {
            (kind, Some((position, card))) => (kind, card, position),
            // Nothing to be about yet: an ordinary tap.
            (Kind::Reversal | Kind::Repeat, None) => (Kind::Approve, self.card(), self.amount()),
            (kind, None) => (kind, self.card(), self.amount()),
        };
        Slot { due, took: 0, lag: 0, card, detail, kind, code: [0; 2] }
    }

    fn card(&mut self) -> u32 {
        match &self.zipf {
            None => self.below(self.cards),
            // Ranks are 1 to the number of cards.
            Some(zipf) => (zipf.sample(&mut self.rng) as u32).saturating_sub(1).min(self.cards - 1),
        }
    }

    fn amount(&mut self) -> u32 {
        let span = (self.mix.amounts.to - self.mix.amounts.from).saturating_add(1);
        self.mix.amounts.from + self.below(span)
    }

    fn original_of_reversal(&mut self, before: &[Slot]) -> Option<(u32, u32)> {
        let end = before.len().checked_sub(self.reversed_after)?;
        let old = before.get(self.reverse_from..end)?;
        let found = old.iter().position(|slot| slot.kind == Kind::Approve)?;
        let position = self.reverse_from + found;
        self.reverse_from = position + 1;
        Some((u32::try_from(position).ok()?, before.get(position)?.card))
    }

    fn original_of_repeat(&mut self, before: &[Slot]) -> Option<(u32, u32)> {
        let from = before.len().saturating_sub(REPEATED_WITHIN).max(self.repeated_to.map_or(0, |to| to + 1));
        let recent = before.get(from..)?;
        let found = recent.iter().position(|slot| slot.kind == Kind::Approve)?;
        let position = from + found;
        self.repeated_to = Some(position);
        Some((u32::try_from(position).ok()?, before.get(position)?.card))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix() -> Mix {
        Mix::load("daily").expect("it is embedded")
    }

    #[test]
    fn the_same_seed_gives_the_same_schedule() {
        let mix = mix();
        let draw = |seed| Draw { mix: &mix, cards: 100, seed };
        let of = |seed| draw(seed).open(Arrivals::Poisson, 5000.0, Duration::from_secs(3)).expect("a good rate");
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }

    #[test]
    fn arrivals_ascend_and_keep_the_rate() {
        let mix = mix();
        for arrivals in [Arrivals::Poisson, Arrivals::Constant] {
            let draw = Draw { mix: &mix, cards: 100, seed: 1 };
            let slots = draw.open(arrivals, 10_000.0, Duration::from_secs(5)).expect("a good rate");
            assert!(slots.is_sorted_by_key(|slot| slot.due));
            // Ten standard deviations of a Poisson count of 50,000.
            assert!(slots.len().abs_diff(50_000) < 2300, "{} arrivals", slots.len());
        }
    }

    #[test]
    fn shares_and_originals_are_as_the_mix_says() {
        let mix = mix();
        let draw = Draw { mix: &mix, cards: 1000, seed: 3 };
        let slots = draw.open(Arrivals::Poisson, 10_000.0, Duration::from_secs(10)).expect("a good rate");
        let count = |kind| slots.iter().filter(|slot| slot.kind == kind).count() as f64 / slots.len() as f64;
        assert!((count(Kind::Decline) - 0.06).abs() < 0.01);
        assert!((count(Kind::Repeat) - 0.02).abs() < 0.005);
        let mut meant = std::collections::HashSet::new();
        for (at, slot) in slots.iter().enumerate() {
            if matches!(slot.kind, Kind::Reversal | Kind::Repeat) {
                let original = slots[slot.detail as usize];
                assert!(original.kind == Kind::Approve && (slot.detail as usize) < at && original.card == slot.card);
                assert!(meant.insert((slot.kind as u8, slot.detail)), "an original is meant once by each kind");
            }
        }
        // Zipf: the first card is far more frequent than the mean.
        let first = slots.iter().filter(|slot| slot.card == 0).count();
        assert!(first > 20 * slots.len() / 1000, "{first}");
    }
}
