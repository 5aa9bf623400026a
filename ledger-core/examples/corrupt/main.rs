//! Bends every byte of small journals and a sample of a large one, and holds `journal verify` to it: found and located,
//! or cut back to the last whole block where a torn write may look like that, or a byte that means nothing.
//!
//! Run by `scripts/corrupt.sh`. It must never write outside its own memory.

mod damage;
mod disk;
mod judge;
mod layout;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};

use damage::Trial;
use judge::Outcome;
use layout::{Made, Plan, Tail};

/// Findings that are printed; the rest is counted.
const PRINTED: usize = 25;
/// One byte in so many has each of its bits flipped alone.
const ALL_BITS_ONE_IN: usize = 61;

/// Flips and cuts every byte of a small journal and a sample of a large one.
#[derive(Parser)]
#[command(
    name = "corrupt",
    after_help = "Example: scripts/corrupt.sh --seed 42\n\nExit codes: 0 all was found; 1 damage was accepted."
)]
struct Args {
    /// Seed of the journals and of the sample (default: drawn and printed)
    #[arg(long)]
    seed: Option<u64>,
    /// Cases of each kind on the large journal
    #[arg(long, default_value_t = 600)]
    sample: usize,
    /// Of the small journals only one byte in so many (1: every byte)
    #[arg(long, default_value_t = 1)]
    stride: usize,
}

/// Outcomes of one kind of damage.
#[derive(Default)]
struct Row {
    located: u64,
    cut: u64,
    meaningless: u64,
    unchanged: u64,
    accepted: u64,
}

/// All outcomes.
#[derive(Default)]
struct Tally {
    rows: BTreeMap<(&'static str, &'static str), Row>,
    found: Vec<String>,
}

impl Tally {
    fn note(&mut self, journal: &'static str, kind: &'static str, place: &str, outcome: Outcome) {
        let row = self.rows.entry((journal, kind)).or_default();
        match outcome {
            Outcome::Located => row.located += 1,
            Outcome::Cut => row.cut += 1,
            Outcome::Meaningless => row.meaningless += 1,
            Outcome::Unchanged => row.unchanged += 1,
            Outcome::Accepted(why) => {
                row.accepted += 1;
                self.found.push(format!("{journal}: {kind}: {place}: {why}"));
            }
        }
    }

    fn print(&self) {
        let mut table = Table::new();
        let header =
            ["journal", "damage", "cases", "located", "cut to last block", "no meaning", "no change", "ACCEPTED"];
        table.load_preset(UTF8_FULL_CONDENSED).set_header(header);
        table.column_iter_mut().skip(2).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        for ((journal, kind), row) in &self.rows {
            let cases = row.located + row.cut + row.meaningless + row.unchanged + row.accepted;
            let figures = [cases, row.located, row.cut, row.meaningless, row.unchanged, row.accepted];
            let words = [(*journal).to_owned(), (*kind).to_owned()];
            table.add_row(words.into_iter().chain(figures.iter().map(u64::to_string)));
        }
        println!("{table}");
        self.found.iter().take(PRINTED).for_each(|what| println!("ACCEPTED  {what}"));
        if let Some(more) = self.found.len().checked_sub(PRINTED).filter(|more| *more > 0) {
            println!("… and {more} more");
        }
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut rng = fastrand::Rng::with_seed(seed);
    let small =
        Plan { segment: 32 << 10, closed: 3, longest: 1500, tail: Tail::Clean, engine: 9, shard: 0, archived: false };
    let large = Plan { segment: 1 << 20, closed: 12, longest: 12_000, ..small };
    let journals = [
        ("small, clean tail", small, true),
        ("small, torn tail", Plan { tail: Tail::Torn, closed: 1, ..small }, true),
        ("small, archived", Plan { archived: true, ..small }, true),
        ("large, sampled", large, false),
    ];
    let mut tally = Tally::default();
    let mut sizes = Vec::new();
    for (name, plan, every) in journals {
        let made = plan.make(&mut rng)?;
        let bytes: usize = made.segments.iter().map(|segment| made.disk.bytes(&segment.path).len()).sum();
        sizes.push(format!("{name}: {} files, {bytes} bytes, {} events", made.segments.len(), made.states.len() - 1));
        let mut told = |kind, place: String, outcome| tally.note(name, kind, &place, outcome);
        let mut trial = Trial { made: &made, told: &mut told };
        if every {
            let bar = bar(name, bytes * 3 / args.stride.max(1));
            each_byte(&mut trial, args.stride.max(1), &bar);
            trial.mix_up(&mut rng)?;
            bar.finish_and_clear();
        } else {
            let bar = bar(name, args.sample * 3);
            sampled(&mut trial, args.sample, &mut rng, &bar);
            bar.finish_and_clear();
        }
        drop(made);
    }
    println!("seed {seed}");
    sizes.iter().for_each(|line| println!("{line}"));
    tally.print();
    match tally.found.len() {
        0 => println!("nothing was accepted silently: all damage was located, or cut as a torn tail, or means nothing"),
        found => println!("{found} cases were accepted; again: scripts/corrupt.sh --seed {seed}"),
    }
    Ok(ExitCode::from(u8::from(!tally.found.is_empty())))
}

fn bar(name: &'static str, cases: usize) -> ProgressBar {
    let bar = ProgressBar::new(cases as u64).with_message(name);
    if let Ok(style) = ProgressStyle::with_template("{msg:20} {bar:30} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar
}

/// Every byte flipped, every file cut at every byte, every segment zeroed from every byte.
fn each_byte(trial: &mut Trial<'_>, stride: usize, bar: &ProgressBar) {
    let made: &Made = trial.made;
    for segment in &made.segments {
        let mut count = 0;
        for part in &segment.parts {
            for at in (part.at..part.at + part.len).step_by(stride) {
                trial.flip(segment, part, at, 1 << (at % 8));
                if at % ALL_BITS_ONE_IN == 0 {
                    (0..8).for_each(|bit| trial.flip(segment, part, at, 1 << bit));
                }
                trial.truncate(segment, at);
                if !matches!(part.what, layout::What::Spare { .. } | layout::What::Archived) {
                    trial.wipe(segment, at);
                }
                count += 3;
            }
            bar.inc(count);
            count = 0;
        }
    }
}

/// So many of each, anywhere.
fn sampled(trial: &mut Trial<'_>, sample: usize, rng: &mut fastrand::Rng, bar: &ProgressBar) {
    let made: &Made = trial.made;
    for _ in 0..sample {
        let Some(segment) = rng.choice(&made.segments) else { return };
        let len = segment.parts.last().map_or(1, |part| part.at + part.len);
        let at = rng.usize(..len);
        let Some(part) = segment.parts.iter().find(|part| (part.at..part.at + part.len).contains(&at)) else {
            continue;
        };
        trial.flip(segment, part, at, rng.u8(1..));
        trial.truncate(segment, at);
        if !matches!(part.what, layout::What::Spare { .. }) {
            trial.wipe(segment, at);
        }
        bar.inc(3);
    }
}
