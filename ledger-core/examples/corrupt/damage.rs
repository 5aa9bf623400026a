//! Every way in which a journal is bent here: each byte flipped, each file cut, files and blocks mixed up. It must
//! always put back what it bent in place.

use std::error::Error;
use std::path::{Path, PathBuf};

use ledger_core::journal::segment_name;

use crate::disk::RamDisk;
use crate::judge::{May, Outcome, judge, refused_when_needed};
use crate::layout::{DIR, Made, Part, Plan, Segment, What, blocks};

const PAGE: usize = 4096;

/// Offset and length of a block.
type Place = (usize, usize);

/// One journal under test, and who is told what came out.
pub(crate) struct Trial<'a> {
    /// The journal.
    pub(crate) made: &'a Made,
    /// Told the kind of damage, the place, and the outcome.
    pub(crate) told: &'a mut dyn FnMut(&'static str, String, Outcome),
}

impl What {
    fn flipped(self) -> &'static str {
        match self {
            What::Header => "bit flipped in a segment header",
            What::Block { .. } => "bit flipped in a block",
            What::Torn => "bit flipped in the torn block",
            What::BehindClosing => "bit flipped behind a closing block",
            What::Unused => "bit flipped in the unused end",
            What::Spare { .. } => "bit flipped in a spare",
            What::Archived => "bit flipped in an archived segment",
        }
    }
}

impl Trial<'_> {
    fn last(&self) -> u64 {
        self.made.states.len() as u64 - 1
    }

    /// Flips bits of one byte.
    pub(crate) fn flip(&mut self, segment: &Segment, part: &Part, at: usize, mask: u8) {
        let disk = &self.made.disk;
        let turn =
            || disk.bend(&segment.path, |bytes| bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= mask));
        turn();
        let (file, from, last) = (segment.path.as_path(), part.at as u64, self.last());
        let outcome = match part.what {
            // The fields of a header that name a fault of their own stand within its page.
            What::Header => judge(self.made, disk, &May::Refuse { file, from, to: PAGE as u64 - 1 }),
            What::Block { .. } => judge(self.made, disk, &May::Refuse { file, from, to: from }),
            // Told by the page in which the byte lies.
            What::BehindClosing => {
                let page = (at - at % PAGE) as u64;
                judge(self.made, disk, &May::Refuse { file, from: page, to: page })
            }
            What::Torn | What::Unused => {
                let from = self.torn_at(segment).unwrap_or(from);
                judge(self.made, disk, &May::RefuseOrEnd { file, from, to: from, seq: last, told: true })
            }
            What::Spare { first: true } => judge(self.made, disk, &May::Refuse { file, from: 0, to: 0 }),
            What::Spare { first: false } => match judge(self.made, disk, &May::All { file }) {
                // Tried to the end for some: filling two segments costs more than a reading.
                Outcome::Meaningless if at.is_multiple_of(1021) => refused_when_needed(self.made, disk, file),
                other => other,
            },
            What::Archived => judge(self.made, disk, &May::Refuse { file, from: 0, to: u64::MAX }),
        };
        turn();
        (self.told)(part.what.flipped(), format!("{} byte {at} xor {mask:#04x}", file.display()), outcome);
    }

    fn torn_at(&self, segment: &Segment) -> Option<u64> {
        let torn = segment.parts.iter().find(|part| part.what == What::Torn)?;
        Some(torn.at as u64)
    }

    /// Cuts a file to that length.
    pub(crate) fn truncate(&mut self, segment: &Segment, len: usize) {
        let disk = &self.made.disk;
        let whole = disk.bytes(&segment.path);
        disk.bend(&segment.path, |bytes| bytes.truncate(len));
        let archived = matches!(segment.parts.first(), Some(Part { what: What::Archived, .. }));
        let to = if archived { u64::MAX } else { len as u64 };
        let from = if archived { 0 } else { len as u64 };
        let outcome = judge(self.made, disk, &May::Refuse { file: &segment.path, from, to });
        disk.put(&segment.path, whole);
        (self.told)("file cut short", format!("{} to {len} bytes", segment.path.display()), outcome);
    }

    /// Zeros everything from a byte to the end of the segment: what a write that did not finish leaves at best.
    pub(crate) fn wipe(&mut self, segment: &Segment, at: usize) {
        let disk = &self.made.disk;
        let whole = disk.bytes(&segment.path);
        let kind = if segment.open { "open segment zeroed to its end" } else { "closed segment zeroed to its end" };
        let place = format!("{} from byte {at}", segment.path.display());
        let Some(part) = segment.parts.iter().find(|part| (part.at..part.at + part.len).contains(&at)) else { return };
        if whole.iter().skip(at).all(|byte| *byte == 0) {
            (self.told)(kind, place, Outcome::Unchanged);
            return;
        }
        disk.bend(&segment.path, |bytes| bytes.iter_mut().skip(at).for_each(|byte| *byte = 0));
        let (file, from) = (segment.path.as_path(), part.at as u64);
        let within = at - part.at;
        let outcome = match (segment.open, part.what) {
            (true, What::Header | What::Block { .. } | What::Torn) => {
                let seq = match part.what {
                    What::Header => segment.before,
                    What::Block { before } => before,
                    _ => self.last(),
                };
                // Sectors come whole to a disk: only a cut between two of them has to pass for a torn write.
                let told = within > 0 && part.what != What::Header;
                if within.is_multiple_of(512) && !told {
                    judge(self.made, disk, &May::End { seq })
                } else {
                    let may = May::RefuseOrEnd { file, from, to: from, seq, told };
                    match judge(self.made, disk, &may) {
                        Outcome::Located if within.is_multiple_of(512) && part.what != What::Torn => {
                            Outcome::Accepted("a cut between two sectors was refused".to_owned())
                        }
                        other => other,
                    }
                }
            }
            (_, What::Header) => judge(self.made, disk, &May::Refuse { file, from: 0, to: PAGE as u64 - 1 }),
            _ => judge(self.made, disk, &May::Refuse { file, from, to: from }),
        };
        disk.put(&segment.path, whole);
        (self.told)(kind, place, outcome);
    }

    /// Segments and blocks that are missing, doubled, mixed up, or of another journal.
    pub(crate) fn mix_up(&mut self, rng: &mut fastrand::Rng) -> Result<(), Box<dyn Error>> {
        let used: Vec<&Segment> =
            self.made.segments.iter().filter(|s| s.parts.iter().any(|p| p.what == What::Header)).collect();
        let refused = |bent: &RamDisk, file: &Path, from: usize, to: usize| {
            judge(self.made, bent, &May::Refuse { file, from: from as u64, to: to as u64 })
        };
        let mut told: Vec<(&'static str, String, Outcome)> = Vec::new();
        let name = |path: &Path| path.display().to_string();
        for segment in &used {
            let bent = self.made.disk.fork();
            bent.take(&segment.path);
            told.push(("segment missing", name(&segment.path), refused(&bent, &segment.path, 0, 0)));
        }
        for (at, one) in used.iter().enumerate() {
            for two in used.iter().skip(at + 1) {
                let bent = self.made.disk.fork();
                let (first, second) = (bent.bytes(&one.path), bent.bytes(&two.path));
                bent.put(&one.path, second);
                bent.put(&two.path, first);
                let place = format!("{} and {}", name(&one.path), name(&two.path));
                told.push(("segments swapped", place, refused(&bent, &one.path, 0, PAGE - 1)));
                let bent = self.made.disk.fork();
                bent.put(&two.path, bent.bytes(&one.path));
                let place = format!("{} over {}", name(&one.path), name(&two.path));
                told.push(("segment doubled", place, refused(&bent, &two.path, 0, PAGE - 1)));
            }
        }
        for segment in &used {
            let bytes = self.made.disk.bytes(&segment.path);
            let found = blocks(&bytes);
            for (at, one) in found.iter().enumerate() {
                for two in found.iter().skip(at + 1).filter(|two| two.1 == one.1) {
                    let of =
                        |block: &(usize, usize)| bytes.get(block.0..block.0 + block.1).unwrap_or_default().to_vec();
                    let bend = |pairs: [(&Place, &Place); 2]| {
                        let bent = self.made.disk.fork();
                        for (to, from) in pairs {
                            let content = of(from);
                            bent.bend(&segment.path, |bytes| bytes.splice(to.0..to.0 + to.1, content).for_each(drop));
                        }
                        bent
                    };
                    let place = format!("{} blocks at {} and {}", name(&segment.path), one.0, two.0);
                    // Where a torn block comes to lie before a whole one, that one is the first that is wrong.
                    let swapped = bend([(one, two), (two, one)]);
                    told.push(("blocks swapped", place.clone(), refused(&swapped, &segment.path, one.0, one.0)));
                    let doubled = bend([(two, one), (one, one)]);
                    let outcome = refused(&doubled, &segment.path, two.0, two.0);
                    told.push(("block doubled", place, outcome));
                }
            }
        }
        self.foreign(rng, &used, &mut told)?;
        for (kind, place, outcome) in told {
            (self.told)(kind, place, outcome);
        }
        Ok(())
    }

    fn foreign(
        &self,
        rng: &mut fastrand::Rng,
        used: &[&Segment],
        told: &mut Vec<(&'static str, String, Outcome)>,
    ) -> Result<(), Box<dyn Error>> {
        let plan = Plan { archived: false, ..self.made.plan };
        let others = [
            ("segment of another engine", Plan { engine: plan.engine ^ 0xff, ..plan }),
            ("segment of another shard", Plan { shard: plan.shard ^ 3, ..plan }),
        ];
        for (kind, plan) in others {
            let other = plan.make(rng)?;
            // The first alone would be a whole journal's beginning: the next one is then the foreign one.
            for (at, segment) in used.iter().enumerate() {
                let Some(theirs) = segment.path.file_name().map(|file| Path::new(DIR).join(file)) else { continue };
                if !other.disk.bytes(&theirs).starts_with(b"AUTHJRNL") {
                    continue;
                }
                let bent = self.made.disk.fork();
                bent.put(&segment.path, other.disk.bytes(&theirs));
                let first = at == 0 && segment.path == Path::new(DIR).join(segment_name(1));
                let named: PathBuf = match used.get(1) {
                    Some(next) if first && kind.ends_with("engine") => next.path.clone(),
                    _ => segment.path.clone(),
                };
                let may = May::Refuse { file: &named, from: 0, to: PAGE as u64 - 1 };
                let mut outcome = judge(self.made, &bent, &may);
                if first && !matches!(outcome, Outcome::Located) {
                    let next = used.get(1).map_or(&segment.path, |next| &next.path);
                    outcome = judge(self.made, &bent, &May::Refuse { file: next, from: 0, to: PAGE as u64 - 1 });
                }
                told.push((kind, segment.path.display().to_string(), outcome));
            }
        }
        for segment in used {
            let bent = self.made.disk.fork();
            bent.bend(&segment.path, |bytes| {
                bytes.splice(8..10, 2u16.to_le_bytes()).for_each(drop);
                let rest = bytes.get(16..PAGE).unwrap_or_default();
                let crc = crc32c::crc32c_append(crc32c::crc32c(bytes.get(..12).unwrap_or_default()), rest);
                bytes.splice(12..16, crc.to_le_bytes()).for_each(drop);
            });
            let outcome = judge(self.made, &bent, &May::Refuse { file: &segment.path, from: 8, to: 8 });
            told.push(("newer format", segment.path.display().to_string(), outcome));
        }
        Ok(())
    }
}
