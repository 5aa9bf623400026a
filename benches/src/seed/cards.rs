//! Card numbers by index, and the file that lists them: one number a line. They are test numbers for a sandbox, with
//! good Luhn digits; this must never see a real one.

use super::BIN;
use crate::fault::Fault;
use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Numbers under one BIN of eight digits: seven digits, then the check digit.
const PER_BIN: u64 = 10_000_000;

/// Cards that can be numbered: BINs are counted up from the configured one to the last of eight digits.
pub(crate) const fn most_cards() -> u64 {
    // 53511012 to 53511999: the BINs that share the first five digits.
    988 * PER_BIN
}

/// The number of the card with that index: 16 digits.
pub(super) fn number(index: u64) -> Vec<u8> {
    let bin = BIN.parse::<u64>().unwrap_or_default() + index / PER_BIN;
    let mut digits = format!("{bin:08}{:07}", index % PER_BIN).into_bytes();
    digits.push(check_digit(&digits));
    digits
}

/// The digit that makes `digits` and itself pass Luhn.
fn check_digit(digits: &[u8]) -> u8 {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit.saturating_sub(b'0'));
            // The check digit will stand at place 0, so the doubled places are the even ones here.
            if place % 2 == 0 { value * 2 / 10 + value * 2 % 10 } else { value }
        })
        .sum();
    b'0' + u8::try_from((10 - sum % 10) % 10).unwrap_or(0)
}

/// The list while it is written: under another name until it is whole.
pub(super) struct ListWriter {
    out: BufWriter<File>,
    partial: PathBuf,
    file: PathBuf,
}

impl ListWriter {
    /// Begins a list that this user alone may read.
    pub(super) fn create(file: &Path) -> Result<ListWriter, Fault> {
        let partial = file.with_extension("cards.partial");
        let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let out = made.map_err(Fault::io(format!("creating {}", partial.display())))?;
        Ok(ListWriter { out: BufWriter::with_capacity(1 << 20, out), partial, file: file.to_owned() })
    }

    /// Adds a number.
    pub(super) fn add(&mut self, digits: &[u8]) -> Result<(), Fault> {
        let written = self.out.write_all(digits).and_then(|()| self.out.write_all(b"\n"));
        written.map_err(Fault::io(format!("writing {}", self.partial.display())))
    }

    /// The list is whole.
    pub(super) fn finish(mut self) -> Result<(), Fault> {
        let done = self.out.flush().and_then(|()| std::fs::rename(&self.partial, &self.file));
        done.map_err(Fault::io(format!("writing {}", self.file.display())))
    }
}

/// A list that was read.
pub(crate) struct CardList(Vec<String>);

impl CardList {
    /// Reads the file that `seed` wrote.
    pub(crate) fn read(file: &Path) -> Result<CardList, Fault> {
        let fault = |source| Fault::Io { what: format!("reading the card list {}", file.display()), source };
        let lines = BufReader::new(File::open(file).map_err(fault)?).lines();
        let numbers = lines.collect::<Result<Vec<_>, _>>().map_err(fault)?;
        if numbers.is_empty() {
            return Err(Fault::Engine(format!("the card list {} is empty; seed the directory again", file.display())));
        }
        Ok(CardList(numbers))
    }

    /// The numbers, in the order in which the cards were made.
    pub(crate) fn numbers(&self) -> &[String] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iso_codec::Pan;
    use std::collections::HashSet;

    #[test]
    fn numbers_are_good_and_differ_across_bins() {
        let mut seen = HashSet::new();
        for index in (0..1_000).chain(PER_BIN - 500..PER_BIN + 500).chain([most_cards() - 1]) {
            let digits = number(index);
            let pan = Pan::from_ascii(&digits).expect("a number is digits");
            assert!(pan.luhn_valid() && digits.len() == 16 && digits.starts_with(b"53511"), "index {index}");
            assert!(seen.insert(digits), "index {index}");
        }
    }
}
