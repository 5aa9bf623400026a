//! Merged results: which belong together, which are void, what became of each target. It owns the order in which a
//! reader meets them, bad news first; it must never change a figure.

use super::figures::{columns, remarks};
use super::targets;
use crate::result::{Results, RunResult};
use serde_json::{Value, json};

/// The shape of a result that stands for a part which could not run.
const FAILED: &str = "failed";

/// What became of a target. The order is the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// Measured, and not as asked.
    Missed,
    /// The part that measures it could not run.
    Failed,
    /// Measured, but the run was declared void.
    Void,
    /// As asked.
    Met,
}

impl Verdict {
    /// One word for a cell.
    pub(super) fn word(self) -> &'static str {
        match self {
            Verdict::Missed => "missed",
            Verdict::Failed => "failed",
            Verdict::Void => "void",
            Verdict::Met => "met",
        }
    }
}

/// A line of the table of targets.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// The result that was held against it.
    pub(super) name: &'a str,
    /// What was asked.
    pub(super) asked: &'a str,
    /// What came out, or why nothing did.
    pub(super) got: &'a str,
    /// What became of it.
    pub(super) verdict: Verdict,
}

/// Results that are shown together.
pub(super) struct Group<'a> {
    /// What they have in common; it is a heading.
    pub(super) name: &'a str,
    /// Those that may be used, in the order in which they were taken.
    pub(super) results: Vec<&'a RunResult>,
}

/// All documents in one.
pub(super) struct Merged {
    documents: Vec<Results>,
}

impl Merged {
    /// Takes them in the order in which they were given, and holds them against what is asked.
    pub(super) fn new(mut documents: Vec<Results>) -> Merged {
        documents.iter_mut().flat_map(|document| &mut document.results).for_each(targets::judge);
        Merged { documents }
    }

    /// What is asked of runs that are not here.
    pub(super) fn unmeasured(&self) -> Vec<&'static str> {
        targets::unmeasured(self.results())
    }

    fn results(&self) -> impl Iterator<Item = &RunResult> + Clone {
        self.documents.iter().flat_map(|document| &document.results)
    }

    /// Targets, bad news first.
    pub(super) fn targets(&self) -> Vec<Line<'_>> {
        let mut lines: Vec<_> = self.results().filter_map(line).collect();
        lines.sort_by_key(|line| line.verdict);
        lines
    }

    /// `3 of 5 targets met, 1 missed, 1 void`.
    pub(super) fn verdict(&self) -> String {
        let lines = self.targets();
        let of = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
        // A part that failed has no target of its own: it is told beside them.
        let failed = of(Verdict::Failed);
        let mut said = format!("{} of {} targets met", of(Verdict::Met), lines.len() - failed);
        for (count, word) in [(of(Verdict::Missed), "missed"), (of(Verdict::Void), "void")] {
            if count > 0 {
                said.push_str(&format!(", {count} {word}"));
            }
        }
        match failed {
            0 => {}
            1 => said.push_str("; 1 part could not run"),
            more => said.push_str(&format!("; {more} parts could not run")),
        }
        said
    }

    /// Groups in the order of their first result, without void results.
    pub(super) fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for result in self.results().filter(|result| result.void.is_none() && shows_something(result)) {
            let name = if result.group.is_empty() { "other results" } else { &result.group };
            match groups.iter_mut().find(|group| group.name == name) {
                Some(group) => group.results.push(result),
                None => groups.push(Group { name, results: vec![result] }),
            }
        }
        groups
    }

    /// Results that must not be used, with the reason.
    pub(super) fn void(&self) -> Vec<(&RunResult, &str)> {
        let void = self.results().filter(|result| result.shape != FAILED);
        void.filter_map(|result| Some((result, result.void.as_deref()?))).collect()
    }

    /// Each fact about the machine with every value that a document has for it.
    pub(super) fn machine(&self) -> Vec<(&str, Vec<&str>)> {
        let mut facts: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, value) in self.documents.iter().flat_map(|document| &document.machine) {
            match facts.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) if values.contains(&value.as_str()) => {}
                Some((_, values)) => values.push(value),
                None => facts.push((name, vec![value])),
            }
        }
        facts
    }

    /// The commits that were measured, each once.
    pub(super) fn commits(&self) -> Vec<&str> {
        distinct(self.documents.iter().map(|document| document.commit.as_str()))
    }

    /// The command lines, each once.
    pub(super) fn flags(&self) -> Vec<&str> {
        distinct(self.documents.iter().map(|document| document.flags.as_str()))
    }

    /// When the first and the last document were written.
    pub(super) fn span(&self) -> Option<(&str, &str)> {
        // RFC 3339 in UTC sorts as text.
        let times = || self.documents.iter().map(|document| document.at.as_str()).filter(|at| !at.is_empty());
        Some((times().min()?, times().max()?))
    }

    /// What a reader must know before any figure.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut said = Vec::new();
        let commits = self.commits();
        if commits.len() > 1 {
            said.push(format!("These results are of different commits: {}.", commits.join(", ")));
        }
        if commits.iter().any(|commit| commit.ends_with("-dirty")) {
            said.push("The tree differed from its commit when this was measured.".to_owned());
        }
        let builds = self.machine().into_iter().filter(|(name, _)| *name == "build").flat_map(|(_, values)| values);
        if builds.into_iter().any(|build| build != "release") {
            said.push("Some of this was measured with a build that is not optimized.".to_owned());
        }
        said
    }

    /// Everything for a program.
    pub(super) fn json(&self) -> Value {
        let target = |line: &Line<'_>| {
            let Line { name, asked, got, verdict } = line;
            json!({ "name": name, "asked": asked, "got": got, "verdict": verdict.word() })
        };
        let source = |document: &Results| {
            let Results { machine, flags, commit, at, results } = document;
            json!({ "machine": machine, "flags": flags, "commit": commit, "at": at, "results": results.len() })
        };
        json!({
            "verdict": self.verdict(),
            "unmeasured": self.unmeasured(),
            "targets": self.targets().iter().map(target).collect::<Vec<_>>(),
            "results": self.results().collect::<Vec<_>>(),
            "documents": self.documents.iter().map(source).collect::<Vec<_>>(),
        })
    }
}

/// Whether there is more to a result than its target.
fn shows_something(result: &RunResult) -> bool {
    let drawn = !(result.curve.is_empty() && result.stages.is_empty() && result.windows.is_empty());
    drawn || !columns(&[result]).is_empty() || !remarks(result).is_empty()
}

fn line(result: &RunResult) -> Option<Line<'_>> {
    let name = result.name.as_str();
    match (&result.void, &result.target) {
        (Some(why), _) if result.shape == FAILED => {
            Some(Line { name, asked: "runs to its end", got: why, verdict: Verdict::Failed })
        }
        (Some(why), Some(target)) => Some(Line { name, asked: &target.asked, got: why, verdict: Verdict::Void }),
        (None, Some(target)) => {
            let verdict = if target.met { Verdict::Met } else { Verdict::Missed };
            Some(Line { name, asked: &target.asked, got: &target.got, verdict })
        }
        (_, None) => None,
    }
}

fn distinct<'a>(all: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen: Vec<&str> = Vec::new();
    for one in all.filter(|one| !one.is_empty()) {
        if !seen.contains(&one) {
            seen.push(one);
        }
    }
    seen
}

/// The name of a result without what changes from step to step of a ladder: `hot pool 100000/s` and `hot pool
/// 20000/s` are points of one line.
pub(super) fn line_of(result: &RunResult) -> &str {
    let name = result.name.as_str();
    let blanks = name.match_indices(' ');
    let number =
        |at: usize| name.get(at + 1..).is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    let end = blanks.map(|(at, _)| at).find(|at| number(*at)).unwrap_or(name.len());
    let stem = name.get(..end).unwrap_or(name).trim_end_matches([',', ':', ' ', '·']);
    if stem.is_empty() { name } else { stem }
}
