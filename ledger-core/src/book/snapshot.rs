//! The book as entries, and back: what a snapshot holds.
//!
//! Must never do IO, and never write what is derived from the rest: lookup tables are built anew from what they lead
//! to. A book that was read back has the same state hash and folds the same events to the same states.

use super::canonical::{Canonical, Restored};
use super::identities::Identities;
use super::repeats::Repeats;
use super::reversal::UnmatchedTable;
use super::{Book, authorizations, paged};

/// The version of the entries' layout. One more whenever `canonical.rs` or this file changes what it writes;
/// a snapshot of another version is not used.
pub const CONTENT: u16 = 1;

/// Entries that are added to a look-up table together, so that their waits for memory overlap.
const AT_ONCE: usize = 32;

/// A table of the book. Its number is in snapshots.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Part {
    Scalars = 0,
    Links,
    Partners,
    Users,
    Accounts,
    Pools,
    Cards,
    Keys,
    Transfers,
    Rates,
    Quotes,
    QuoteQueue,
    OffRamps,
    General,
    Authorizations,
    Closed,
    RequestRepeats,
    AdviceRepeats,
    Unmatched,
    Idempotency,
    IdempotencyQueue,
}

/// Takes the entries of a snapshot: the number of the part, the entry's bytes.
pub type TakeEntry<'a, E> = dyn FnMut(u8, &[u8]) -> Result<(), E> + 'a;

/// Where the entries of a snapshot come from.
pub trait Entries: Sync {
    /// How many bytes a part has.
    fn bytes(&self, part: u8) -> u64;

    /// Calls `each` with the first piece of a part, if it has one.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn first(&self, part: u8, each: &mut dyn FnMut(&[u8])) -> Result<(), String>;

    /// Calls `each` with the bytes of a part, in order and in pieces that end where an entry does. `each` says whether
    /// they were entries.
    ///
    /// # Errors
    /// Why the part cannot be read; the first piece that `each` did not take.
    fn read(&self, part: u8, each: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), String>;
}

impl Book {
    /// Gives every entry of the book to `entry` with the number of its part, all of a part one after the other.
    ///
    /// # Errors
    /// The first error of `entry`.
    pub fn write_snapshot<E>(&self, entry: &mut TakeEntry<'_, E>) -> Result<(), E> {
        // Taken apart, so that a new field does not compile until it is written.
        let Self {
            epoch,
            last_seq,
            last_at,
            next_no,
            dedup_window_us,
            links,
            partners,
            users,
            accounts,
            pools,
            cards,
            keys,
            transfers,
            rates,
            quotes,
            quote_queue,
            off_ramps,
            general,
            authorizations,
            closed,
            repeats,
            unmatched,
            idempotency,
            idempotency_queue,
            identities: _,
            touched: _,
        } = self;
        let mut out = Output { entry, bytes: Vec::with_capacity(512) };
        out.all(Part::Scalars, std::iter::once(((*epoch, *last_seq), (*last_at, (*next_no, *dedup_window_us)))))?;
        out.all(Part::Links, links.iter())?;
        out.all(Part::Partners, partners.iter())?;
        out.all(Part::Users, users.iter())?;
        out.all(Part::Accounts, accounts.iter())?;
        out.all(Part::Pools, pools.iter())?;
        out.all(Part::Cards, cards.iter())?;
        out.all(Part::Keys, keys.values())?;
        out.all(Part::Transfers, transfers.iter())?;
        out.all(Part::Rates, rates.iter())?;
        out.all(Part::Quotes, quotes.iter())?;
        out.all(Part::QuoteQueue, quote_queue.iter())?;
        out.all(Part::OffRamps, off_ramps.iter())?;
        out.all(Part::General, general.iter())?;
        out.all(Part::Authorizations, authorizations.in_order())?;
        out.all(Part::Closed, closed.iter())?;
        repeats.write(|advice, bytes| {
            (out.entry)(if advice { Part::AdviceRepeats } else { Part::RequestRepeats } as u8, bytes)
        })?;
        out.all(Part::Unmatched, unmatched.iter())?;
        out.all(Part::Idempotency, idempotency.iter())?;
        out.all(Part::IdempotencyQueue, idempotency_queue.iter())
    }

    /// Reads a book back, on two threads: a large one has tens of millions of entries.
    ///
    /// # Errors
    /// What `from` says, and entries that do not read.
    pub fn read_snapshot(from: &dyn Entries) -> Result<Self, String> {
        let mut book = Self::default();
        let from = &Input { from };
        let (people, rest) = std::thread::scope(|scope| {
            let people = scope.spawn(|| People::read(from));
            let rest = book.read_rest(from);
            // What has a number is named while the users are still read.
            let Self { identities, partners, accounts, pools, cards, .. } = &mut book;
            (0u32..).zip(partners.iter()).for_each(|(index, thing)| identities.name(thing.id.no, index));
            (0u32..).zip(accounts.iter()).for_each(|(index, thing)| identities.name(thing.id.no, index));
            (0u32..).zip(pools.iter()).for_each(|(index, thing)| identities.name(thing.id.no, index));
            (0u32..).zip(cards.iter()).for_each(|(index, thing)| identities.name(thing.id.no, index));
            (people.join(), rest)
        });
        rest?;
        let people = people.map_err(|_| "the thread that read the users panicked".to_owned())??;
        let People { users, by_external_id, transfers, quotes } = people;
        (book.users, book.transfers, book.quotes) = (users, transfers, quotes);
        book.identities.take_users(by_external_id);
        let Self { identities, users, .. } = &mut book;
        (0u32..).zip(users.iter()).for_each(|(index, thing)| identities.name(thing.id.no, index));
        Ok(book)
    }

    /// All but what [`People`] reads.
    fn read_rest(&mut self, from: &Input<'_>) -> Result<(), String> {
        let mut scalars = None;
        from.each(Part::Scalars, |all: ((u32, u64), (_, (u64, i64)))| scalars = Some(all))?;
        let ((epoch, last_seq), (last_at, (next_no, dedup_window_us))) = scalars.ok_or("the snapshot is empty")?;
        (self.epoch, self.last_seq, self.last_at) = (epoch, last_seq, last_at);
        (self.next_no, self.dedup_window_us) = (next_no, dedup_window_us);
        from.each(Part::Links, |link| self.links.push(link))?;
        from.each(Part::Partners, |partner| self.partners.push(partner))?;
        from.each(Part::Accounts, |account| {
            self.accounts.push(account);
        })?;
        from.each(Part::Pools, |pool| self.pools.push(pool))?;
        let (cards, identities) = (&mut self.cards, &mut self.identities);
        let mut found_by = Vec::with_capacity(AT_ONCE);
        identities.reserve_cards(from.about(Part::Cards)?);
        from.each(Part::Cards, |card: super::Card| {
            let hash = Identities::card_hash(&card.fingerprint);
            found_by.push((cards.push(card), hash));
            if found_by.len() == AT_ONCE {
                identities.find_cards(&mut found_by);
            }
        })?;
        identities.find_cards(&mut found_by);
        from.each(Part::Keys, |key: super::ApiKey| _ = self.keys.insert(key.id.no, key))?;
        from.each(Part::Rates, |(pair, rate)| _ = self.rates.insert(pair, rate))?;
        from.each(Part::QuoteQueue, |no| self.quote_queue.push_back(no))?;
        from.each(Part::OffRamps, |(no, off_ramp)| _ = self.off_ramps.insert(no, off_ramp))?;
        from.each(Part::General, |(account, balance)| _ = self.general.insert(account, balance))?;
        let mut authorizations = authorizations::Authorizations::default();
        from.each(Part::Authorizations, |authorization| authorizations.insert(authorization))?;
        self.authorizations = authorizations;
        let mut closed = paged::Fifo::default();
        from.each(Part::Closed, |entry| _ = closed.push(entry))?;
        self.closed = closed;
        let mut repeats = Repeats::default();
        from.raw(Part::RequestRepeats, |bytes| repeats.read(false, bytes))?;
        from.raw(Part::AdviceRepeats, |bytes| repeats.read(true, bytes))?;
        self.repeats = repeats;
        let mut unmatched = UnmatchedTable::default();
        from.each(Part::Unmatched, |(until, entry)| unmatched.put(entry, until))?;
        self.unmatched = unmatched;
        from.each(Part::Idempotency, |(key, record)| _ = self.idempotency.insert(key, record))?;
        from.each(Part::IdempotencyQueue, |key| self.idempotency_queue.push_back(key))
    }
}

/// What the second thread reads: users are half of the work of a large book.
struct People {
    users: super::Users,
    by_external_id: super::identities::ByExternalId,
    transfers: super::Transfers,
    quotes: super::Quotes,
}

impl People {
    fn read(from: &Input<'_>) -> Result<Self, String> {
        let mut people = Self {
            users: super::Users::default(),
            by_external_id: super::identities::ByExternalId::default(),
            transfers: super::Transfers::default(),
            quotes: super::Quotes::default(),
        };
        let Self { users, by_external_id, transfers, quotes } = &mut people;
        let mut found_by = Vec::with_capacity(AT_ONCE);
        by_external_id.reserve(from.about(Part::Users)?);
        from.each(Part::Users, |user: super::User| {
            let hash = by_external_id.hash(user.partner, &user.external_id);
            found_by.push((users.push(user), hash));
            if found_by.len() == AT_ONCE {
                by_external_id.add_all(&mut found_by);
            }
        })?;
        by_external_id.add_all(&mut found_by);
        transfers.reserve(from.about(Part::Transfers)? as usize);
        from.each(Part::Transfers, |(no, transfer)| _ = transfers.insert(no, transfer))?;
        from.each(Part::Quotes, |(no, quote)| _ = quotes.insert(no, quote))?;
        Ok(people)
    }
}

struct Output<'a, E> {
    entry: &'a mut TakeEntry<'a, E>,
    bytes: Vec<u8>,
}

impl<E> Output<'_, E> {
    fn all<T: Canonical>(&mut self, part: Part, entries: impl Iterator<Item = T>) -> Result<(), E> {
        for entry in entries {
            self.bytes.clear();
            entry.write(&mut self.bytes);
            (self.entry)(part as u8, &self.bytes)?;
        }
        Ok(())
    }
}

struct Input<'a> {
    from: &'a dyn Entries,
}

impl Input<'_> {
    fn each<T: Restored>(&self, part: Part, mut each: impl FnMut(T)) -> Result<(), String> {
        self.raw(part, |bytes| T::read(bytes).map(&mut each))
    }

    /// About how many entries a part has: its bytes by those of its first piece's entries. Only to make room.
    fn about(&self, part: Part) -> Result<u32, String> {
        let (mut bytes, mut entries) = (0u64, 0u64);
        let entry_len = |bytes: &[u8]| -> Option<usize> {
            let mut rest = bytes;
            match part {
                Part::Users => super::User::read(&mut rest).map(drop)?,
                Part::Cards => super::Card::read(&mut rest).map(drop)?,
                _ => <(crate::id::No, super::TransferRecord)>::read(&mut rest).map(drop)?,
            }
            Some(bytes.len() - rest.len())
        };
        self.from.first(part as u8, &mut |mut piece| {
            while let Some(len) = (entries < 256).then(|| entry_len(piece)).flatten() {
                (bytes, entries) = (bytes + len as u64, entries + 1);
                piece = piece.get(len..).unwrap_or_default();
            }
        })?;
        let about = self.from.bytes(part as u8).saturating_mul(entries).checked_div(bytes).unwrap_or(0);
        Ok(u32::try_from(about).unwrap_or(u32::MAX))
    }

    fn raw(&self, part: Part, mut each: impl FnMut(&mut &[u8]) -> Option<()>) -> Result<(), String> {
        self.from.read(part as u8, &mut |mut bytes| {
            while !bytes.is_empty() {
                if each(&mut bytes).is_none() {
                    return false;
                }
            }
            true
        })
    }
}
