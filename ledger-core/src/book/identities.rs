//! What ids, fingerprints and external ids lead to. All of it follows from the tables of the things themselves.
//!
//! Must never copy what it finds by: cards keep their fingerprints, users their external ids.

use super::chains::{Chains, Links, seed, spread, spread_key};
use super::paged::{NONE, Numbers, Paged};
use super::{Card, User, at};
use crate::id::No;

#[derive(Debug)]
pub(super) struct Identities {
    /// Numbers are given to things of all kinds; the caller knows which kind it asks for and compares the id.
    numbers: Numbers,
    cards: Chains,
    card_links: Paged<u32>,
    users: Chains,
    user_links: Paged<u32>,
    seed: u64,
}

impl Default for Identities {
    fn default() -> Self {
        Self {
            numbers: Numbers::default(),
            cards: Chains::default(),
            card_links: Paged::default(),
            users: Chains::default(),
            user_links: Paged::default(),
            seed: seed(),
        }
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
    pub(super) fn card(&self, fingerprint: &[u8; 16], cards: &[Card]) -> Option<u32> {
        let mut index = self.cards.first(spread_key(fingerprint));
        while at(cards, index)?.fingerprint != *fingerprint {
            index = self.card_links.get(index).copied().unwrap_or(NONE);
        }
        Some(index)
    }

    /// Fetches where the card with this fingerprint is found.
    pub(super) fn warm_card(&self, fingerprint: &[u8; 16]) {
        self.cards.warm(spread_key(fingerprint));
    }

    /// The first card that may have this fingerprint.
    pub(super) fn first_card<'a>(&self, fingerprint: &[u8; 16], cards: &'a [Card]) -> Option<&'a Card> {
        at(cards, self.cards.first(spread_key(fingerprint)))
    }

    /// Adds the newest card.
    pub(super) fn add_card(&mut self, no: No, index: u32, cards: &[Card]) {
        self.name(no, index);
        self.card_links.push(NONE);
        self.cards.insert(index, &mut ByFingerprint { cards, links: &mut self.card_links });
    }

    /// The partner's user with this external id.
    pub(super) fn user(&self, partner: u32, external_id: &str, users: &[User]) -> Option<u32> {
        let mut index = self.users.first(external_hash(self.seed, partner, external_id));
        loop {
            let user = at(users, index)?;
            if user.partner == partner && user.external_id == external_id {
                return Some(index);
            }
            index = self.user_links.get(index).copied().unwrap_or(NONE);
        }
    }

    /// Adds the newest user.
    pub(super) fn add_user(&mut self, no: No, index: u32, users: &[User]) {
        self.name(no, index);
        self.user_links.push(NONE);
        self.users.insert(index, &mut ByExternalId { users, links: &mut self.user_links, seed: self.seed });
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

struct ByFingerprint<'a> {
    cards: &'a [Card],
    links: &'a mut Paged<u32>,
}

impl Links for ByFingerprint<'_> {
    fn hash(&self, row: u32) -> u64 {
        at(self.cards, row).map_or(0, |card| spread_key(&card.fingerprint))
    }

    fn next(&self, row: u32) -> u32 {
        self.links.get(row).copied().unwrap_or(NONE)
    }

    fn set_next(&mut self, row: u32, next: u32) {
        if let Some(link) = self.links.get_mut(row) {
            *link = next;
        }
    }
}

struct ByExternalId<'a> {
    users: &'a [User],
    links: &'a mut Paged<u32>,
    seed: u64,
}

impl Links for ByExternalId<'_> {
    fn hash(&self, row: u32) -> u64 {
        at(self.users, row).map_or(0, |user| external_hash(self.seed, user.partner, &user.external_id))
    }

    fn next(&self, row: u32) -> u32 {
        self.links.get(row).copied().unwrap_or(NONE)
    }

    fn set_next(&mut self, row: u32, next: u32) {
        if let Some(link) = self.links.get_mut(row) {
            *link = next;
        }
    }
}
