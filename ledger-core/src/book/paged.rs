//! Tables in pages: they grow by a page at a time, so that no growth ever copies what is there, and what a queue has
//! let go is used again.
//!
//! Must never know what it holds.

use std::collections::VecDeque;

use crate::id::No;

/// No row, no place.
pub(super) const NONE: u32 = u32::MAX;

const PAGE: usize = 1024;
/// Pages that a queue keeps for its next growth; more go back to the allocator.
const SPARE_PAGES: usize = 4;

fn split(index: u32) -> (usize, usize) {
    let index = index as usize;
    (index / PAGE, index % PAGE)
}

/// A vector that never moves what it holds. A page has its room from the start and is written as it fills.
#[derive(Debug)]
pub struct Paged<T> {
    pages: Vec<Vec<T>>,
    len: u32,
}

impl<T> Default for Paged<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<T> Paged<T> {
    /// How many rows there are.
    pub fn len(&self) -> u32 {
        self.len
    }

    /// A row by its index.
    pub fn get(&self, index: u32) -> Option<&T> {
        let (page, within) = split(index);
        self.pages.get(page)?.get(within)
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        let (page, within) = split(index);
        self.pages.get_mut(page)?.get_mut(within)
    }

    /// Adds at the end; the index of what was added.
    pub(super) fn push(&mut self, value: T) -> u32 {
        let index = self.len;
        let (page, _) = split(index);
        if page == self.pages.len() {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        if let Some(page) = self.pages.get_mut(page) {
            page.push(value);
        }
        self.len += 1;
        index
    }

    /// True without any row.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Every row, by index.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten()
    }

    /// Every row from this index on, without a look at those before.
    pub fn iter_from(&self, index: u32) -> impl Iterator<Item = &T> {
        let (page, within) = split(index);
        self.pages.get(page..).unwrap_or_default().iter().flatten().skip(within)
    }
}

/// A queue whose entries are found by their place; the place of an entry never changes while it is in.
#[derive(Debug)]
pub(super) struct Fifo<T> {
    pages: VecDeque<Vec<T>>,
    spare: Vec<Vec<T>>,
    /// Entries gone from the first page.
    gone: usize,
    /// Place of the first entry of the first page.
    base: u32,
    len: usize,
}

impl<T> Default for Fifo<T> {
    fn default() -> Self {
        Self { pages: VecDeque::new(), spare: Vec::new(), gone: 0, base: 0, len: 0 }
    }
}

impl<T: Copy> Fifo<T> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds at the end; the place of what was added. Places wrap around after four billion.
    pub(super) fn push(&mut self, value: T) -> u32 {
        let at = self.gone + self.len;
        if at / PAGE == self.pages.len() {
            self.pages.push_back(self.spare.pop().unwrap_or_else(|| Vec::with_capacity(PAGE)));
        }
        if let Some(last) = self.pages.back_mut() {
            last.push(value);
        }
        self.len += 1;
        self.base.wrapping_add(u32::try_from(at).unwrap_or(NONE))
    }

    fn split(&self, place: u32) -> (usize, usize) {
        split(self.order(place))
    }

    pub(super) fn get(&self, place: u32) -> Option<&T> {
        let (page, within) = self.split(place);
        self.pages.get(page)?.get(within)
    }

    /// Greater for what came later, of places that are in.
    pub(super) fn order(&self, place: u32) -> u32 {
        place.wrapping_sub(self.base)
    }

    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        let (page, within) = self.split(place);
        self.pages.get_mut(page)?.get_mut(within)
    }

    /// The oldest entry and its place.
    pub(super) fn front(&self) -> Option<(u32, T)> {
        let first = self.pages.front()?.get(self.gone)?;
        Some((self.base.wrapping_add(u32::try_from(self.gone).unwrap_or(NONE)), *first))
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let (_, first) = self.front()?;
        self.gone += 1;
        self.len -= 1;
        if self.gone == PAGE {
            self.gone = 0;
            self.base = self.base.wrapping_add(u32::try_from(PAGE).unwrap_or(NONE));
            let mut page = self.pages.pop_front().unwrap_or_default();
            if self.spare.len() < SPARE_PAGES {
                page.clear();
                self.spare.push(page);
            }
        }
        Some(first)
    }

    /// Oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten().skip(self.gone)
    }
}

/// Numbers of one page of [`Numbers`].
const NUMBERS: u64 = 4096;

/// Which row a number has. Numbers count up without gaps, so a table by number needs no hashing; a page goes when the
/// last of its numbers does.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    pages: Vec<Option<NumberPage>>,
    spare: Option<NumberPage>,
}

#[derive(Debug)]
struct NumberPage {
    rows: Box<[u32]>,
    live: u32,
}

fn split_no(no: No) -> Option<(usize, usize)> {
    Some((usize::try_from(no / NUMBERS).ok()?, usize::try_from(no % NUMBERS).ok()?))
}

impl Numbers {
    pub(super) fn get(&self, no: No) -> Option<u32> {
        let (page, within) = split_no(no)?;
        self.pages.get(page)?.as_ref()?.rows.get(within).copied().filter(|row| *row != NONE)
    }

    /// Sets what a number has. The caller counts numbers up: what is passed over costs eight bytes a page.
    pub(super) fn set(&mut self, no: No, row: u32) {
        let Some((page, within)) = split_no(no) else { return };
        if page >= self.pages.len() {
            self.pages.resize_with(page + 1, || None);
        }
        let Some(place) = self.pages.get_mut(page) else { return };
        let spare = &mut self.spare;
        let page = place.get_or_insert_with(|| {
            spare.take().unwrap_or_else(|| NumberPage { rows: vec![NONE; NUMBERS as usize].into(), live: 0 })
        });
        if let Some(entry) = page.rows.get_mut(within) {
            page.live += u32::from(*entry == NONE);
            *entry = row;
        }
    }

    /// Forgets a number.
    pub(super) fn clear(&mut self, no: No) {
        let Some((at, within)) = split_no(no) else { return };
        let last = self.pages.len().saturating_sub(1);
        let Some(place) = self.pages.get_mut(at) else { return };
        let Some(page) = place.as_mut() else { return };
        if let Some(entry) = page.rows.get_mut(within) {
            page.live -= u32::from(*entry != NONE);
            *entry = NONE;
        }
        // The last page fills again at once.
        if page.live == 0 && at != last {
            self.spare = place.take();
        }
    }

    /// Every row, in the order of the numbers.
    pub(super) fn rows(&self) -> impl Iterator<Item = u32> + '_ {
        self.pages.iter().flatten().flat_map(|page| page.rows.iter().copied()).filter(|row| *row != NONE)
    }

    /// Every row whose number leaves `rest` when divided by `step`: one look for each `step` numbers given out.
    pub(super) fn in_steps(&self, rest: No, step: No) -> impl Iterator<Item = u32> + '_ {
        let end = self.pages.len() as u64 * NUMBERS;
        let mut no = rest;
        std::iter::from_fn(move || {
            while no < end {
                let row = self.get(no);
                no += step.max(1);
                if row.is_some() {
                    return row;
                }
            }
            None
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_keep_their_places_while_they_grow() {
        let mut table = Paged::default();
        for i in 0..5_000u32 {
            assert_eq!(table.push(i), i);
        }
        assert!((0..5_000).all(|i| table.get(i) == Some(&i)));
        assert_eq!((table.get(5_000), table.len()), (None, 5_000));
        assert!(table.iter().copied().eq(0..5_000));
    }

    #[test]
    fn a_queue_is_found_by_place_and_uses_its_pages_again() {
        let mut queue = Fifo::default();
        let places: Vec<u32> = (0..3_000u32).map(|i| queue.push(i)).collect();
        for i in 0..2_500u32 {
            assert_eq!(queue.front(), Some((places[i as usize], i)));
            assert_eq!(queue.pop(), Some(i));
        }
        assert_eq!(queue.spare.len(), 2);
        assert_eq!(queue.get(places[2_700]), Some(&2_700));
        for i in 3_000..9_000u32 {
            let place = queue.push(i);
            assert_eq!(queue.get(place), Some(&i));
        }
        assert!(queue.iter().copied().eq(2_500..9_000));
        assert_eq!(queue.len(), 6_500);
        while queue.pop().is_some() {}
        assert_eq!((queue.len(), queue.front(), queue.iter().count()), (0, None, 0));
        assert!(queue.spare.len() <= SPARE_PAGES);
    }

    #[test]
    fn places_wrap_around() {
        let mut queue = Fifo { base: u32::MAX - 1_000, ..Fifo::default() };
        let places: Vec<u32> = (0..3_000u32).map(|i| queue.push(i)).collect();
        assert!((0..).zip(&places).all(|(i, place)| queue.get(*place) == Some(&i)));
        for _ in 0..2_000 {
            queue.pop();
        }
        assert!((2_000..).zip(&places[2_000..]).all(|(i, place)| queue.get(*place) == Some(&i)));
        assert!(places[2_000..].is_sorted_by_key(|place| queue.order(*place)));
    }

    #[test]
    fn numbers_come_and_go_with_their_pages() {
        let mut numbers = Numbers::default();
        for no in 0..20_000u64 {
            numbers.set(no, u32::try_from(no).expect("small") + 7);
        }
        assert_eq!((numbers.get(0), numbers.get(19_999), numbers.get(20_000)), (Some(7), Some(20_006), None));
        assert!(numbers.in_steps(3, 9_999).eq([10, 10_009]));
        for no in 0..10_000u64 {
            numbers.clear(no);
        }
        assert_eq!(numbers.pages.iter().flatten().count(), 3, "two pages are gone");
        assert_eq!((numbers.get(9_999), numbers.get(10_000)), (None, Some(10_007)));
        numbers.clear(5);
    }
}
