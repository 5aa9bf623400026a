//! Every decision of a journal made again, in one pass: `journal replay --decisions`. It must never stop at the first
//! that comes out otherwise.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use iso_codec::Spec;
use ledger_core::book::{Book, Policy};
use ledger_core::event::Event;
use ledger_core::id::No;
use ledger_core::journal::Record;
use ledger_core::keys::Keyring;
use serde::Serialize;

use super::Failure;
use super::events::Told;
use super::stopped::{Directory, Watch, whole};
use crate::engine::rejudge::Rejudge;
use crate::shard::boot::{self, load_spec};
use crate::view::fold::concerned;

/// Every decision of a journal made again.
#[derive(Debug, Default, Serialize)]
pub(super) struct Decisions {
    /// Events that were decided again.
    pub(super) events: u64,
    /// Replies that were made again.
    pub(super) replies: u64,
    /// Events that came out otherwise, or could not be decided.
    pub(super) unequal_events: u64,
    /// The first of them, told.
    pub(super) unequal: Vec<String>,
}

/// So many that came out otherwise are told.
const TOLD: usize = 20;

/// Makes every decision of the journal again.
///
/// # Errors
/// Exit 1 for damage, 3 when the journal or its keys cannot be read.
pub(super) fn decide_all(directory: &Directory) -> Result<Decisions, Failure> {
    let keyring = directory.keyring()?;
    let policy: Policy = boot::policy(&directory.config)?;
    let lookup = cached_specs();
    let mut all =
        All { keyring: &keyring, specs: &lookup, policy, waiting: HashMap::new(), told: Decisions::default() };
    let (_, walked) = directory.fold(&mut all)?;
    whole(&walked)?;
    Ok(all.told)
}

/// Message specs by name, each read once.
fn cached_specs() -> impl Fn(&str) -> Option<Arc<Spec>> {
    let known: RefCell<HashMap<String, Option<Arc<Spec>>>> = RefCell::default();
    move |name: &str| known.borrow_mut().entry(name.to_owned()).or_insert_with(|| load_spec(name).ok()).clone()
}

struct All<'a> {
    keyring: &'a Keyring,
    specs: &'a dyn Fn(&str) -> Option<Arc<Spec>>,
    policy: Policy,
    /// Taps whose partner is asked, with their requests.
    waiting: HashMap<No, Rejudge<'a>>,
    told: Decisions,
}

impl Watch for All<'_> {
    fn before(&mut self, book: &Book, record: &Record<'_>, event: &Event<'_>) -> ControlFlow<()> {
        let Some(no) = concerned(event).first().copied().or_else(|| unmatched(event)) else {
            return ControlFlow::Continue(());
        };
        let new = || Rejudge::new(no, self.keyring, self.specs, self.policy.clone());
        let mut rejudge = self.waiting.remove(&no).unwrap_or_else(new);
        let wrong = match rejudge.judge(book, record, event) {
            Ok(judged) => {
                self.told.events += u64::from(judged.event.is_some());
                self.told.replies += judged.replies.len() as u64;
                let other = judged.event.as_ref().map(|other| Told::of(book, record, other).line()).unwrap_or_default();
                (!judged.equal(event)).then(|| format!("recomputed: {other}"))
            }
            Err(why) => Some(why),
        };
        if matches!(event, Event::TapTaken(e) if e.reply.is_none()) {
            self.waiting.insert(no, rejudge);
        }
        if let Some(wrong) = wrong {
            self.told.unequal_events += 1;
            if self.told.unequal.len() < TOLD {
                self.told.unequal.push(format!("{}\n    {wrong}", Told::of(book, record, event).line()));
            }
        }
        ControlFlow::Continue(())
    }

    fn after(&mut self, _: &Book, _: &Record<'_>, _: &Event<'_>) -> Result<ControlFlow<()>, Failure> {
        Ok(ControlFlow::Continue(()))
    }
}

/// The number of a reversal that found nothing: it is decided all the same.
fn unmatched(event: &Event<'_>) -> Option<No> {
    match event {
        Event::Reversed(e) => Some(e.no),
        _ => None,
    }
}
