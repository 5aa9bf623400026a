//! The codecs in turns, timed, in a process of their own: one of the crates prints to the standard output and reads
//! the environment, and a panic of either would otherwise end the comparison. It owns the turns; what the codecs do
//! is `codecs`.

use super::slice::{Slice, Tally};
use crate::allocations;
use crate::codecs::{self, Codec};
use crate::engine::beside;
use crate::fault::Fault;
use crate::result::RunResult;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// Messages of which one sample is the mean: a single one is shorter than the clock is exact.
const OF_ONE: u32 = 100;
/// Samples of a turn.
const TURN: u32 = 20;

/// Arguments of `codec-peers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Milliseconds for all codecs together
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u64).range(50..=600_000))]
    millis: u64,
    /// Where the spec of one of them may be written
    #[arg(long)]
    dir: PathBuf,
}

/// Runs `codec-peers`: the rows as JSON, on the last line of what it prints.
pub(crate) fn serve(args: &Args) -> Result<ExitCode, Fault> {
    let file = args.dir.join("iso8583-rs.yaml");
    std::fs::write(&file, codecs::peer_spec()).map_err(Fault::io(format!("writing {}", file.display())))?;
    // SAFETY: this process has no other thread that could read the environment at the same time.
    unsafe { std::env::set_var(codecs::SPEC_FILE, &file) };
    println!("{}", serde_json::json!(measure(Duration::from_millis(args.millis))));
    Ok(ExitCode::SUCCESS)
}

/// Runs the codecs in a process of their own.
pub(super) fn run(dir: &Path, length: Duration) -> Result<Vec<RunResult>, Fault> {
    let mut command = Command::new(beside("benches")?);
    command.args(["codec-peers", "--millis", &length.as_millis().to_string(), "--dir"]).arg(dir);
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.map_err(Fault::io("running the codecs"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let rows = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
    rows.ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        Fault::Engine(format!("the codecs ended with {}: {}", output.status, said.lines().last().unwrap_or_default()))
    })
}

/// One codec and what was taken of it.
struct Row {
    codec: Box<dyn Codec>,
    took: Vec<u64>,
    allocations: f64,
    notes: Vec<String>,
}

fn measure(length: Duration) -> Vec<RunResult> {
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    let mut reference: Vec<u8> = Vec::new();
    for (name, codec) in codecs::all() {
        let mut said = |why: String| {
            let void = Some(format!("it does not answer a valid message: {why}"));
            failed.push(RunResult {
                name: format!("codec: {name}"),
                group: "codec".into(),
                void,
                ..RunResult::default()
            });
        };
        let mut codec = match codec {
            Ok(codec) => codec,
            Err(why) => {
                said(why);
                continue;
            }
        };
        let mut notes = vec![format!("a sample is the mean of {OF_ONE} messages, decode and reply")];
        match codec.answer() {
            Ok(reply) if [codecs::EBCDIC, codecs::ASCII].contains(&name) => reference = reply.to_vec(),
            Ok(reply) if reply == reference => notes.push("its reply has the same bytes as iso-codec's".to_owned()),
            Ok(_) => notes.push("its reply differs from iso-codec's".to_owned()),
            Err(why) => {
                said(why);
                continue;
            }
        }
        let before = allocations::all();
        (0..OF_ONE).for_each(|_| drop(black_box(codec.answer().map(<[u8]>::len))));
        let allocations = (allocations::all() - before) as f64 / f64::from(OF_ONE);
        notes.push(format!("{allocations:.0} allocations a message"));
        rows.push(Row { codec, took: Vec::new(), allocations, notes });
    }
    let from = Instant::now();
    while from.elapsed() < length && !rows.is_empty() {
        for row in &mut rows {
            for _ in 0..TURN {
                let from = Instant::now();
                (0..OF_ONE).for_each(|_| drop(black_box(row.codec.answer().map(<[u8]>::len))));
                row.took.push(u64::try_from(from.elapsed().as_nanos()).unwrap_or(u64::MAX));
            }
        }
    }
    let results = rows.into_iter().map(Row::result);
    results.chain(failed).collect()
}

impl Row {
    /// Nanoseconds of one message are too few for whole ones: the histogram keeps those of a hundred.
    fn result(self) -> RunResult {
        let mut slice = Slice::begin();
        let mut tally = Tally::default();
        for took in &self.took {
            slice.push(Duration::from_nanos(*took), true);
        }
        tally.add(slice);
        let mut result = tally.result(&format!("codec: {}", self.codec.name()), "closed");
        let of_one = f64::from(OF_ONE);
        for figure in
            [&mut result.p50_us, &mut result.p90_us, &mut result.p99_us, &mut result.p999_us, &mut result.max_us]
        {
            *figure /= of_one;
        }
        result.curve.iter_mut().for_each(|(_, micros)| *micros /= of_one);
        // These stand for times of arrival, which there are none of here.
        (result.w50_us, result.w99_us, result.windows) = (0.0, 0.0, Vec::new());
        let seconds = self.took.iter().sum::<u64>() as f64 / 1e9;
        let messages = u64::try_from(self.took.len()).unwrap_or(0) * u64::from(OF_ONE);
        (result.sent, result.answered) = (messages, messages);
        (result.rate_per_s, result.answered_per_s) = (messages as f64 / seconds, messages as f64 / seconds);
        result.group = "codec".to_owned();
        result.counts = vec![("allocations a message".to_owned(), self.allocations.round() as u64)];
        result.notes = self.notes;
        result
    }
}
