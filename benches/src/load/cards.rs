//! The cards of a run: numbers of one length, flat. It owns the file of card numbers; it must never print one.

use crate::fault::Fault;
use std::fs;
use std::path::Path;

/// Card numbers, all of one length, as decimal digits.
#[derive(Clone)]
pub(crate) struct Cards {
    digits: Vec<u8>,
    length: usize,
}

impl Cards {
    /// Of these numbers.
    pub(crate) fn new<'a>(pans: impl IntoIterator<Item = &'a str>) -> Result<Cards, Fault> {
        let mut cards = Cards { digits: Vec::new(), length: 0 };
        for (at, pan) in pans.into_iter().enumerate() {
            let fault = |what: &str| Fault::Usage(format!("card {} of the list: {what}", at + 1));
            if pan.len() < 8 || pan.len() > 19 || !pan.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(fault("not 8 to 19 digits"));
            }
            if at == 0 {
                cards.length = pan.len();
            }
            if pan.len() != cards.length {
                return Err(fault("another length than the first; make one list for each length"));
            }
            cards.digits.extend(pan.bytes().map(|byte| byte - b'0'));
        }
        if cards.digits.is_empty() {
            return Err(Fault::Usage("the list of cards is empty".to_owned()));
        }
        Ok(cards)
    }

    /// Of a text file with one number a line; empty lines and lines with `#` first are left out.
    pub(crate) fn read(path: &Path) -> Result<Cards, Fault> {
        let text = fs::read_to_string(path).map_err(Fault::io(format!("reading the cards {}", path.display())))?;
        Cards::new(text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')))
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.digits.len() / self.length
    }

    /// Digits of each.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// One as text.
    pub(crate) fn text(&self, at: u32) -> String {
        self.digits(at).iter().map(|digit| char::from(digit + b'0')).collect()
    }

    /// The digits of one, as numbers 0 to 9.
    #[inline]
    pub(crate) fn digits(&self, at: u32) -> &[u8] {
        let from = at as usize * self.length;
        self.digits.get(from..from + self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_of_one_length_and_all_digits() {
        let cards = Cards::new(["5351101212344242", "5351101212344243"]).expect("both are good");
        assert_eq!((cards.len(), cards.length(), cards.digits(1).last()), (2, 16, Some(&3)));
        for list in [&["535110121234424x"][..], &["5351101212344242", "535110121234424"], &[]] {
            let told = Cards::new(list.iter().copied()).map(|_| ()).map_err(|fault| fault.to_string());
            assert!(told.as_ref().is_err_and(|told| !told.contains("5351")), "{told:?}");
        }
    }
}
