//! What ids, fingerprints and external ids lead to. All of it follows from the tables of the things themselves.
//!
//! Must never copy what it finds by: cards keep their fingerprints, users their external ids.

use super::finder::{Finder, seed, spread, spread_key};
use super::paged::{Numbers, Paged};
use super::{Card, User};
use crate::id::No;

#[derive(Debug, Default)]
pub(super) struct Identities {
    /// Numbers are given to things of all kinds; the caller knows which kind it asks for and compares the id.
    numbers: Numbers,
    cards: Finder,
    users: ByExternalId,
}

/// What external ids lead to.
#[derive(Debug)]
pub(super) struct ByExternalId {
    users: Finder,
    /// Nobody outside knows it, so nobody can choose ids that meet in one bucket.
    seed: u64,
}

impl Default for ByExternalId {
    fn default() -> Self {
        Self { users: Finder::default(), seed: seed() }
    }
}

impl ByExternalId {
    /// Makes room for so many users.
    pub(super) fn reserve(&mut self, users: u32) {
        self.users.reserve(users);
    }

    /// Adds many users: their indices, each with what [`ByExternalId::hash`] gives.
    pub(super) fn add_all(&mut self, users: &mut Vec<(u32, u64)>) {
        self.users.insert_all(users);
    }

    /// The hash that a user is found by.
    pub(super) fn hash(&self, partner: u32, external_id: &str) -> u64 {
        external_hash(self.seed, partner, external_id)
    }

    /// Adds a user.
    pub(super) fn add(&mut self, index: u32, partner: u32, external_id: &str) {
        self.users.insert(index, external_hash(self.seed, partner, external_id));
    }
}

impl Identities {
    /// The dense index of the thing with this number, within the things of its kind.
    pub(super) fn index(&self, no: No) -> Option<u32> {
        self.numbers.get(no)
    }

    /// Gives a number its thing.
    pub(super) fn name(&mut self, no: No, index: u32) {
        self.numbers.set(no, index);
    }

    /// The card with this fingerprint.
    pub(super) fn card(&self, fingerprint: &[u8; 16], cards: &Paged<Card>) -> Option<u32> {
        let mut rows = self.cards.rows(spread_key(fingerprint));
        rows.find(|index| cards.get(*index).is_some_and(|card| card.fingerprint == *fingerprint))
    }

    /// Fetches where the card with this fingerprint is found.
    pub(super) fn warm_card(&self, fingerprint: &[u8; 16]) {
        self.cards.warm(spread_key(fingerprint));
    }

    /// A card that may have this fingerprint.
    pub(super) fn likely_card<'a>(&self, fingerprint: &[u8; 16], cards: &'a Paged<Card>) -> Option<&'a Card> {
        self.cards.rows(spread_key(fingerprint)).next().and_then(|index| cards.get(index))
    }

    /// Adds the newest card.
    pub(super) fn add_card(&mut self, no: No, index: u32, fingerprint: &[u8; 16]) {
        self.name(no, index);
        self.find_card(index, fingerprint);
    }

    /// Makes room for so many cards.
    pub(super) fn reserve_cards(&mut self, cards: u32) {
        self.cards.reserve(cards);
    }

    /// Many cards are found by their fingerprints from here on: their indices, each with what
    /// [`Identities::card_hash`] gives.
    pub(super) fn find_cards(&mut self, cards: &mut Vec<(u32, u64)>) {
        self.cards.insert_all(cards);
    }

    /// The hash that a card is found by.
    pub(super) fn card_hash(fingerprint: &[u8; 16]) -> u64 {
        spread_key(fingerprint)
    }

    /// A card is found by its fingerprint from here on.
    pub(super) fn find_card(&mut self, index: u32, fingerprint: &[u8; 16]) {
        self.cards.insert(index, spread_key(fingerprint));
    }

    /// The partner's user with this external id.
    pub(super) fn user(&self, partner: u32, external_id: &str, users: &Paged<User>) -> Option<u32> {
        let mut rows = self.users.users.rows(external_hash(self.users.seed, partner, external_id));
        let is_theirs = |user: &User| user.partner == partner && *user.external_id == *external_id;
        rows.find(|index| users.get(*index).is_some_and(is_theirs))
    }

    /// Adds the newest user.
    pub(super) fn add_user(&mut self, no: No, index: u32, partner: u32, external_id: &str) {
        self.name(no, index);
        self.users.add(index, partner, external_id);
    }

    /// Takes what external ids lead to, made elsewhere.
    pub(super) fn take_users(&mut self, users: ByExternalId) {
        self.users = users;
    }
}

fn external_hash(seed: u64, partner: u32, external_id: &str) -> u64 {
    let (words, rest) = external_id.as_bytes().as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let start = (u64::from(partner) << 32) | u64::try_from(external_id.len()).unwrap_or(0);
    let each = words.iter().chain([&last]);
    each.fold(start, |hash, word| spread(seed, hash, u64::from_le_bytes(*word)))
}
