//! The loss report: what of a spec the other form cannot carry, line by line. It must never leave out what was changed.

use std::collections::HashSet;
use std::fmt;

/// One thing that could not be carried as it stood.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Loss {
    /// Line in the file that was read, from 1; 0 when it has no line of its own.
    pub line: usize,
    /// The element, such as `DE48.01`, or the place in the file.
    pub element: String,
    /// The class, type or key that cannot be carried, with what it means.
    pub class: String,
    /// What was put instead.
    pub instead: String,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}: {} cannot be carried; instead: {}", self.line, self.element, self.class, self.instead)
    }
}

/// Losses in the order of the file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Report {
    losses: Vec<Loss>,
}

impl Report {
    /// Notes a loss.
    pub fn lose(&mut self, line: usize, element: &str, class: impl Into<String>, instead: impl Into<String>) {
        self.losses.push(Loss { line, element: element.to_owned(), class: class.into(), instead: instead.into() });
    }

    /// All of them by line.
    pub fn into_losses(mut self) -> Vec<Loss> {
        self.losses.sort_by_key(|loss| loss.line);
        // Content, length and tag of one element can lose the same thing.
        let mut told = HashSet::new();
        self.losses.retain(|loss| told.insert(loss.clone()));
        self.losses
    }
}

/// A foreign spec that cannot be read at all: where, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Line from 1; 0 when there is none.
    pub line: usize,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl Unreadable {
    /// At a line, with a reason.
    pub fn new(line: usize, reason: impl Into<String>) -> Self {
        Self { line, reason: reason.into() }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.reason),
            line => write!(f, "line {line}: {}", self.reason),
        }
    }
}
