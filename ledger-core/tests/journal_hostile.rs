//! A journal that was damaged, cut, mixed up or held by another: refused with file and offset, and never repaired
//! silently. Only the last, unfinished write of a crash is cut.

mod journal_common;

use std::fs;
use std::path::{Path, PathBuf};

use journal_common::{Event, Model, SEGMENT, bend, blocks, keys, last_block, options, reopen, segments};
use ledger_core::journal::{Journal, JournalError, KeySource, Options, SpareMaking, SyncMode, verify};
use ledger_core::keys::MasterKey;
use proptest::prelude::*;

/// A journal of several segments whose last block spans several pages.
fn made(dir: &Path) -> Vec<Event> {
    made_with(dir, keys(), 0)
}

fn made_with(dir: &Path, keys: KeySource, shard: u8) -> Vec<Event> {
    let mut model = Model::default();
    let options = Options { spares: SpareMaking::Inline, shard, ..options(dir) };
    let (mut journal, _) = Journal::open(options, keys, &mut |_| Ok(())).unwrap();
    journal.start_epoch(1);
    for turn in 0..50u8 {
        model.append(&mut journal, i64::from(turn), &vec![turn; 100 * usize::from(turn)]);
        journal.commit().unwrap();
    }
    model.append(&mut journal, 50, &[7; 9000]);
    model.append(&mut journal, 51, b"the last");
    journal.commit().unwrap();
    model.events
}

fn try_open(dir: &Path) -> Result<Vec<Event>, JournalError> {
    let mut events = Vec::new();
    let options = Options { spares: SpareMaking::Inline, ..options(dir) };
    Journal::open(options, keys(), &mut |record| {
        events.push(Event::from(record));
        Ok(())
    })?;
    Ok(events)
}

/// Every file of the directory but the lock, to prove that a refusal changed nothing.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The open is refused for what `expected` accepts, the line names a file and an offset, and no byte changes.
fn check_refused(dir: &Path, what: &str, expected: impl Fn(&JournalError) -> bool) {
    let before = contents(dir);
    let error = try_open(dir).err().unwrap_or_else(|| panic!("{what}: opened"));
    assert!(expected(&error), "{what}: {error:?}");
    let line = error.to_string();
    assert!(line.contains(".segment") && line.contains("offset") && !line.contains('\n'), "{what}: {line}");
    assert!(contents(dir) == before, "{what}: a refused open changed the directory");
    let verified = verify(dir, KeySource::absent(), &mut |_| Ok(())).unwrap_err();
    assert_eq!(std::mem::discriminant(&verified), std::mem::discriminant(&error), "{what}: {verified:?}");
}

fn is_corrupt_at(error: &JournalError, at: &Path, from: u64) -> bool {
    matches!(error, JournalError::Corrupt { file, offset, .. } if file == at && *offset == from)
}

#[test]
fn h30_a_torn_last_block_is_cut_at_every_sector_and_nothing_else_is() {
    let dir = tempfile::tempdir().unwrap();
    let events = made(dir.path());
    let (segment, offset, len) = last_block(dir.path());
    assert!(len >= 3 * 4096);
    let whole = fs::read(&segment).unwrap();
    // A disk may have taken any of the sectors: the first so many, the last so many, all but one.
    let sectors = len / 512;
    let mut tears: Vec<Vec<usize>> = Vec::new();
    for kept in 0..sectors {
        tears.push((kept..sectors).collect());
        tears.push((0..sectors - kept).collect());
        tears.push(vec![kept]);
    }
    for lost in tears {
        let mut torn = whole.clone();
        for sector in &lost {
            torn[offset + sector * 512..offset + (sector + 1) * 512].fill(0);
        }
        fs::write(&segment, &torn).unwrap();
        let report = verify(dir.path(), keys(), &mut |_| Ok(())).unwrap();
        assert_eq!(report.last_seq, 50);
        assert_eq!(report.torn.is_some(), lost.len() < sectors, "lost {lost:?}");
        assert!(fs::read(&segment).unwrap() == torn, "verify wrote");

        let (journal, recovery, found) = reopen(dir.path());
        assert_eq!(found, events[..50], "lost {lost:?}");
        assert_eq!(recovery.cut_bytes > 0, lost.len() < sectors, "lost {lost:?}");
        assert_eq!(recovery.cut.map(|cut| cut.offset), (lost.len() < sectors).then_some(offset as u64));
        assert_eq!(journal.next_seq(), 51);
        drop(journal);
        let after = fs::read(&segment).unwrap();
        assert!(after[..offset] == whole[..offset] && after[offset..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn h30_a_cut_in_the_middle_of_a_sector_is_a_torn_tail_too() {
    let dir = tempfile::tempdir().unwrap();
    let events = made(dir.path());
    let (segment, offset, _) = last_block(dir.path());
    let whole = fs::read(&segment).unwrap();
    for kept in [1, 7, 8, 9, 24, 28, 87, 88, 92, 95, 96, 97, 500, 513, 4095, 4097, 8000] {
        let mut torn = whole.clone();
        torn[offset + kept..].fill(0);
        fs::write(&segment, &torn).unwrap();
        let (_, recovery, found) = reopen(dir.path());
        assert_eq!(found, events[..50], "kept {kept}");
        assert!(recovery.cut_bytes > 0, "kept {kept}");
    }
}

#[test]
fn h30_after_a_cut_the_journal_goes_on_under_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let events = made(dir.path());
    let (segment, offset, _) = last_block(dir.path());
    bend(&segment, |bytes| bytes[offset + 4096..].fill(0));
    let mut model = Model { events: events[..50].to_vec() };
    {
        let (mut journal, recovery, _) = reopen(dir.path());
        journal.start_epoch(recovery.last_epoch + 1);
        model.append(&mut journal, 99, b"started");
        assert_eq!(journal.commit().unwrap(), 51);
        let nonce = |epoch| ledger_core::keys::Nonce { epoch, seq: 51, field: 0 };
        let (mut first, mut second) = (Vec::new(), Vec::new());
        journal.keyring().seal(nonce(1), b"same sequence", &mut first);
        journal.keyring().seal(nonce(2), b"same sequence", &mut second);
        assert_ne!(first, second);
    }
    let (_, recovery, found) = reopen(dir.path());
    assert_eq!((found, recovery.last_epoch, recovery.cut_bytes), (model.events, 2, 0));
}

#[test]
fn h30_flipped_bits_all_over_written_pages_are_refused_with_file_and_offset() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let segments = segments(dir.path());
    assert!(segments.len() >= 4);
    // The first segment, one in the middle and the last: the header, the first and the last block of each.
    for segment in [&segments[0], &segments[2], segments.last().unwrap()] {
        let whole = fs::read(segment).unwrap();
        let found = blocks(segment);
        let mut places = vec![(0, 4096), found[0], found[found.len() - 1]];
        places.dedup();
        for (offset, len) in places {
            for (at, byte) in whole.iter().enumerate().skip(offset).take(len) {
                // Meaningful bytes and sector borders one by one, the long stretches between them in strides.
                let within = at - offset;
                if within > 200 && within % 512 != 0 && within % 37 != 0 && within + 8 < len {
                    continue;
                }
                let flipped = 1u8 << (at % 8);
                let file = fs::OpenOptions::new().write(true).open(segment).unwrap();
                std::os::unix::fs::FileExt::write_all_at(&file, &[byte ^ flipped], at as u64).unwrap();
                let error = verify(dir.path(), keys(), &mut |_| Ok(())).unwrap_err();
                assert!(is_corrupt_at(&error, segment, offset as u64), "{segment:?} byte {at}: {error:?}");
                std::os::unix::fs::FileExt::write_all_at(&file, &[*byte], at as u64).unwrap();
            }
        }
    }
    assert!(verify(dir.path(), keys(), &mut |_| Ok(())).is_ok());
}

#[test]
fn h30_a_flipped_bit_in_each_block_is_refused_at_start_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    for segment in segments(dir.path()) {
        for (offset, len) in blocks(&segment).into_iter().chain([(0, 4096)]) {
            for at in [offset, offset + 26, offset + 90, offset + len - 1] {
                bend(&segment, |bytes| bytes[at] ^= 0x10);
                check_refused(dir.path(), "flip", |error| is_corrupt_at(error, &segment, offset as u64));
                bend(&segment, |bytes| bytes[at] ^= 0x10);
            }
        }
    }
    assert_eq!(try_open(dir.path()).unwrap().len(), 52);
}

#[test]
fn h30_a_flip_to_an_all_zero_sector_cannot_happen_even_with_zeros_inside() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut journal, ..) = reopen(dir.path());
        journal.start_epoch(1);
        let mut payload = vec![0; 6000];
        payload[1000] = 1;
        Model::default().append(&mut journal, 0, &payload);
        journal.commit().unwrap();
    }
    let (segment, offset, len) = last_block(dir.path());
    let whole = fs::read(&segment).unwrap();
    for at in (offset..offset + len).filter(|at| whole[*at] != 0) {
        let mut bent = whole.clone();
        bent[at] = 0;
        fs::write(&segment, &bent).unwrap();
        let error = verify(dir.path(), keys(), &mut |_| Ok(())).unwrap_err();
        assert!(is_corrupt_at(&error, &segment, offset as u64), "byte {at}: {error:?}");
    }
}

#[test]
fn h30_bytes_where_nothing_was_written_are_refused_or_reported() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut journal, ..) = reopen(dir.path());
        journal.start_epoch(1);
        for turn in 0..6 {
            Model::default().append(&mut journal, turn, &[1; 9000]);
            journal.commit().unwrap();
        }
    }
    let all = segments(dir.path());
    // After a closing block nothing was ever written.
    let last_page = SEGMENT - 4096;
    let has_room = |segment: &&PathBuf| blocks(segment).last().is_some_and(|(at, len)| (at + len) as u64 <= last_page);
    let closed = all[..all.len() - 1].iter().find(has_room).unwrap();
    bend(closed, |bytes| *bytes.last_mut().unwrap() = 1);
    check_refused(dir.path(), "after the closing block", |error| is_corrupt_at(error, closed, last_page));
    bend(closed, |bytes| *bytes.last_mut().unwrap() = 0);
    // In the open segment the same is what a torn write looks like: cut, and said.
    let open = all.last().unwrap();
    bend(open, |bytes| *bytes.last_mut().unwrap() = 1);
    let (_, recovery, events) = reopen(dir.path());
    assert_eq!((events.len(), recovery.cut_bytes > 0), (6, true));
}

#[test]
fn h30_swapped_blocks_break_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let segment = segments(dir.path()).remove(0);
    let (one, two) = (blocks(&segment)[1], blocks(&segment)[2]);
    assert_eq!((one.1, two.1), (4096, 4096));
    bend(&segment, |bytes| {
        let (left, right) = bytes.split_at_mut(two.0);
        left[one.0..one.0 + 4096].swap_with_slice(&mut right[..4096]);
    });
    check_refused(dir.path(), "swapped", |error| is_corrupt_at(error, &segment, one.0 as u64));
}

#[test]
fn h30_a_block_taken_out_or_repeated_breaks_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let segment = segments(dir.path()).remove(0);
    let (one, two) = (blocks(&segment)[1], blocks(&segment)[2]);
    let whole = fs::read(&segment).unwrap();
    bend(&segment, |bytes| bytes.copy_within(one.0..one.0 + 4096, two.0));
    check_refused(dir.path(), "repeated", |error| is_corrupt_at(error, &segment, two.0 as u64));
    fs::write(&segment, &whole).unwrap();
    bend(&segment, |bytes| bytes[one.0..one.0 + 4096].fill(0));
    check_refused(dir.path(), "zeroed", |error| is_corrupt_at(error, &segment, one.0 as u64));
}

#[test]
fn h30_a_bad_block_before_a_good_one_is_damage_even_in_the_last_segment() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut journal, ..) = reopen(dir.path());
        journal.start_epoch(1);
        for _ in 0..3 {
            Model::default().append(&mut journal, 0, &[3; 5000]);
            journal.commit().unwrap();
        }
    }
    let segment = segments(dir.path()).remove(0);
    let (offset, _) = blocks(&segment)[1];
    bend(&segment, |bytes| bytes[offset + 4096..offset + 8192].fill(0));
    check_refused(dir.path(), "lost page", |error| is_corrupt_at(error, &segment, offset as u64));
}

#[test]
fn h30_a_missing_segment_is_named() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let all = segments(dir.path());
    for gone in [&all[0], &all[1], all.last().unwrap()] {
        let bytes = fs::read(gone).unwrap();
        fs::remove_file(gone).unwrap();
        check_refused(
            dir.path(),
            "missing",
            |error| matches!(error, JournalError::MissingSegment { file } if file == gone),
        );
        fs::write(gone, bytes).unwrap();
    }
    // The last one and all spares behind it: the closing block before it still names it.
    let last = all.last().unwrap();
    for (path, _) in contents(dir.path()) {
        if path >= *last && path.extension().is_some() {
            fs::remove_file(path).unwrap();
        }
    }
    check_refused(
        dir.path(),
        "lost end",
        |error| matches!(error, JournalError::MissingSegment { file } if file == last),
    );
}

#[test]
fn h30_a_wiped_header_or_segment_is_not_taken_for_a_spare() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let all = segments(dir.path());
    for wiped in [&all[0], &all[1], all.last().unwrap()] {
        let whole = fs::read(wiped).unwrap();
        for end in [4096, whole.len()] {
            if wiped == all.last().unwrap() && end == whole.len() {
                // The last segment without a trace of use is what a crash before its header leaves: only a witness
                // outside could tell.
                continue;
            }
            bend(wiped, |bytes| bytes[..end].fill(0));
            check_refused(dir.path(), "wiped", |error| is_corrupt_at(error, wiped, 0));
            fs::write(wiped, &whole).unwrap();
        }
    }
}

#[test]
fn h30_segments_that_changed_places_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let all = segments(dir.path());
    let other = dir.path().join("aside");
    fs::rename(&all[1], &other).unwrap();
    fs::rename(&all[2], &all[1]).unwrap();
    fs::rename(&other, &all[2]).unwrap();
    check_refused(dir.path(), "changed places", |error| is_corrupt_at(error, &all[1], 0));
}

#[test]
fn h30_a_short_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    for segment in [segments(dir.path()).remove(1), segments(dir.path()).pop().unwrap()] {
        let whole = fs::read(&segment).unwrap();
        for len in [0, 1, 4095, 4096, 20_000, SEGMENT as usize - 1, SEGMENT as usize - 4096] {
            bend(&segment, |bytes| bytes.truncate(len));
            check_refused(
                dir.path(),
                "short",
                |error| matches!(error, JournalError::ShortSegment { file, found, .. } if *file == segment && *found == len as u64),
            );
            fs::write(&segment, &whole).unwrap();
        }
        bend(&segment, |bytes| bytes.resize(whole.len() + 4096, 0));
        check_refused(dir.path(), "long", |error| is_corrupt_at(error, &segment, 0));
        fs::write(&segment, &whole).unwrap();
    }
}

#[test]
fn h30_a_short_spare_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (mut journal, ..) = reopen(dir.path());
        journal.start_epoch(1);
        Model::default().append(&mut journal, 0, b"started");
        journal.commit().unwrap();
    }
    let spare = dir.path().join("0000000002.segment");
    fs::write(&spare, vec![0; SEGMENT as usize - 4096]).unwrap();
    check_refused(
        dir.path(),
        "short spare",
        |error| matches!(error, JournalError::ShortSpare { file, .. } if *file == spare),
    );
}

#[test]
fn h30_a_segment_of_another_engine_or_shard_is_refused() {
    let (ours, theirs, shard) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    made(ours.path());
    made_with(theirs.path(), KeySource::new(MasterKey::from_bytes([5; 32]), [9; 80]), 0);
    made_with(shard.path(), keys(), 3);
    let second = segments(ours.path()).remove(1);
    fs::copy(segments(theirs.path()).remove(1), &second).unwrap();
    check_refused(
        ours.path(),
        "foreign",
        |error| matches!(error, JournalError::ForeignSegment { file, offset: 16 } if *file == second),
    );
    fs::copy(segments(shard.path()).remove(1), &second).unwrap();
    check_refused(
        ours.path(),
        "foreign shard",
        |error| matches!(error, JournalError::ForeignShard { file, found: 3, expected: 0, .. } if *file == second),
    );
    assert!(matches!(try_open(shard.path()), Err(JournalError::ForeignShard { found: 3, expected: 0, .. })));
}

#[test]
fn h30_a_block_of_another_engine_is_refused() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    made(ours.path());
    made_with(theirs.path(), KeySource::new(MasterKey::from_bytes([5; 32]), [9; 80]), 0);
    let (from, to) = (segments(theirs.path()).remove(0), segments(ours.path()).remove(0));
    let (offset, len) = blocks(&to)[1];
    let foreign = fs::read(from).unwrap();
    bend(&to, |bytes| bytes[offset..offset + len].copy_from_slice(&foreign[offset..offset + len]));
    check_refused(ours.path(), "foreign block", |error| is_corrupt_at(error, &to, offset as u64));
}

#[test]
fn h30_a_newer_format_is_refused_as_that() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let segment = segments(dir.path()).remove(1);
    bend(&segment, |bytes| {
        bytes[8] = 2;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..4096]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    });
    check_refused(
        dir.path(),
        "newer",
        |error| matches!(error, JournalError::NewerFormat { file, offset: 8, found: 2, supported: 1 } if *file == segment),
    );
}

#[test]
fn h30_a_wrong_or_absent_master_key_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let open = |keys| Journal::open(options(dir.path()), keys, &mut |_| Ok(())).map(|_| ()).unwrap_err();
    let wrong = open(KeySource::new(MasterKey::from_bytes([6; 32]), [0; 80]));
    assert!(matches!(wrong, JournalError::WrongMasterKey { .. }), "{wrong:?}");
    let absent = open(KeySource::absent());
    assert!(matches!(absent, JournalError::MasterKeyAbsent { .. }), "{absent:?}");
    let empty = tempfile::tempdir().unwrap();
    let none = Journal::open(options(empty.path()), KeySource::absent(), &mut |_| Ok(())).map(|_| ()).unwrap_err();
    assert!(matches!(none, JournalError::MasterKeyAbsent { .. }), "{none:?}");
    let verified = verify(dir.path(), KeySource::existing(MasterKey::from_bytes([6; 32])), &mut |_| Ok(()));
    assert!(matches!(verified, Err(JournalError::WrongMasterKey { .. })));
}

#[test]
fn h30_unfinished_segments_go_and_zero_spares_stay() {
    let dir = tempfile::tempdir().unwrap();
    let events = made(dir.path());
    let next = segments(dir.path()).len() + 1;
    let unfinished = dir.path().join(format!("{next:010}.tmp"));
    fs::write(&unfinished, [0; 5000]).unwrap();
    let spare = dir.path().join(format!("{next:010}.segment"));
    fs::write(&spare, vec![0; SEGMENT as usize]).unwrap();
    assert_eq!(try_open(dir.path()).unwrap(), events);
    assert!(!unfinished.exists() && spare.exists());
}

#[test]
fn h30_a_crash_between_two_segments_is_gone_over_at_every_step() {
    let dir = tempfile::tempdir().unwrap();
    let mut events = made(dir.path());
    // What the disk holds when the closing block is durable and the next header is not, or is torn.
    let all = segments(dir.path());
    let last = all.last().unwrap();
    let header = fs::read(last).unwrap()[..4096].to_vec();
    let first_lost = u64::from_le_bytes(header[56..64].try_into().unwrap());
    events.retain(|event| event.seq < first_lost);
    for kept in [0, 512, 1024, 3584] {
        let mut page = vec![0; SEGMENT as usize];
        page[..kept].copy_from_slice(&header[..kept]);
        fs::write(last, page).unwrap();
        assert_eq!(try_open(dir.path()).unwrap(), events, "kept {kept}");
        // The open activated it.
        assert_ne!(fs::read(last).unwrap()[0], 0);
    }
    // A torn closing block: cut, and the segment goes on.
    let before = &all[all.len() - 2];
    let (offset, _) = *blocks(before).last().unwrap();
    fs::write(last, vec![0; SEGMENT as usize]).unwrap();
    bend(before, |bytes| bytes[offset + 512..offset + 1024].fill(0));
    let (mut journal, recovery, found) = reopen(dir.path());
    assert_eq!((found, recovery.cut_bytes), (events, 4096));
    journal.start_epoch(2);
    Model::default().append(&mut journal, 0, &[1; 30_000]);
    journal.commit().unwrap();
}

#[test]
fn h30_a_crash_while_the_first_header_is_written_leaves_an_empty_journal() {
    let dir = tempfile::tempdir().unwrap();
    drop(reopen(dir.path()));
    let first = dir.path().join("0000000001.segment");
    let header = fs::read(&first).unwrap()[..4096].to_vec();
    for kept in [0, 512, 2048] {
        let mut bytes = vec![0; SEGMENT as usize];
        bytes[..kept].copy_from_slice(&header[..kept]);
        fs::write(&first, bytes).unwrap();
        let (_, recovery, events) = reopen(dir.path());
        assert!(recovery.created && events.is_empty());
    }
}

#[test]
fn h30_bytes_in_a_spare_are_found_before_it_is_used() {
    for spares in [SpareMaking::Thread, SpareMaking::Inline] {
        let dir = tempfile::tempdir().unwrap();
        let mut model = Model::default();
        {
            let (mut journal, ..) = reopen(dir.path());
            journal.start_epoch(1);
            model.append(&mut journal, 0, b"started");
            journal.commit().unwrap();
        }
        let spare = dir.path().join("0000000002.segment");
        let mut bytes = vec![0; SEGMENT as usize];
        bytes[40_000] = 1;
        fs::write(&spare, &bytes).unwrap();
        let mut durable;
        {
            let options = Options { spares, ..options(dir.path()) };
            let (mut journal, _) = Journal::open(options, keys(), &mut |_| Ok(())).unwrap();
            journal.start_epoch(2);
            let error = loop {
                durable = journal.durable_seq();
                let before = journal.next_seq();
                journal.append(0, |out| out.extend_from_slice(&[1; 9000]));
                match journal.commit() {
                    Ok(durable) => assert_eq!(durable, before),
                    Err(error) => break error,
                }
            };
            assert!(is_corrupt_at(&error, &spare, 0), "{error:?}");
        }
        assert!(fs::read(&spare).unwrap() == bytes);
        // All that was called durable is there, and the spare still waits for someone to look.
        assert!(durable > 1);
        assert_eq!(reopen(dir.path()).1.last_seq, durable);
    }
}

#[test]
fn h30_a_fold_that_refuses_an_event_stops_the_open_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path());
    let refused = Journal::open(options(dir.path()), keys(), &mut |record| match record.seq {
        17 => Err("an event of an unknown version".to_owned()),
        _ => Ok(()),
    })
    .map(|_| ())
    .unwrap_err();
    assert!(matches!(&refused, JournalError::Fold { seq: 17, .. }), "{refused:?}");
    assert!(refused.to_string().contains("unknown version"));
}

#[test]
fn h30_a_failed_write_stops_the_journal_for_good() {
    for mode in [SyncMode::Auto, SyncMode::Buffered] {
        let dir = tempfile::tempdir().unwrap();
        let disk = std::sync::Arc::new(journal_common::FailingDisk::default());
        let options = Options { disk: disk.clone(), spares: SpareMaking::Inline, mode, ..options(dir.path()) };
        let (mut journal, _) = Journal::open(options, keys(), &mut |_| Ok(())).unwrap();
        journal.start_epoch(1);
        let mut model = Model::default();
        model.append(&mut journal, 0, b"durable");
        journal.commit().unwrap();
        disk.fail_from_now_on(true);
        Model::default().append(&mut journal, 0, b"lost");
        assert!(matches!(journal.commit(), Err(JournalError::Io { .. })));
        disk.fail_from_now_on(false);
        for _ in 0..3 {
            Model::default().append(&mut journal, 0, b"never tried");
            assert!(matches!(journal.submit(), Err(JournalError::Poisoned { .. })));
            assert!(matches!(journal.complete(), Err(JournalError::Poisoned { .. })));
        }
        assert_eq!(journal.durable_seq(), 1);
        assert!(matches!(journal.reader().read(2), Err(JournalError::NotDurable { .. })));
    }
}

#[test]
fn h31_a_second_opener_is_refused_and_the_lock_outlives_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let first = reopen(dir.path());
    let open = || Journal::open(options(dir.path()), keys(), &mut |_| Ok(())).map(|_| ());
    assert!(matches!(open(), Err(JournalError::InUse { .. })));
    assert!(matches!(verify(dir.path(), keys(), &mut |_| Ok(())), Err(JournalError::InUse { .. })));
    drop(first);
    open().unwrap();
}

#[test]
fn h31_a_directory_that_cannot_be_written_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    fs::write(&file, b"").unwrap();
    for place in [file.clone(), file.join("below"), PathBuf::from("/proc/journal")] {
        let refused = Journal::open(options(&place), keys(), &mut |_| Ok(())).map(|_| ()).unwrap_err();
        assert!(matches!(refused, JournalError::NotWritable { .. }), "{refused:?}");
        assert!(!refused.to_string().contains('\n'));
    }
}

#[test]
fn h31_verify_leaves_no_trace_and_needs_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let events = made(dir.path());
    fs::remove_file(dir.path().join("lock")).unwrap();
    fs::write(dir.path().join("0000000099.tmp"), b"left").unwrap();
    let before = contents(dir.path());
    let mut seen = Vec::new();
    let report = verify(dir.path(), KeySource::absent(), &mut |record| {
        seen.push(Event::from(record));
        Ok(())
    })
    .unwrap();
    assert_eq!((report.events, report.last_seq, report.shard, seen), (52, 52, 0, events));
    assert!(contents(dir.path()) == before);
    let empty = tempfile::tempdir().unwrap();
    let none = verify(empty.path(), keys(), &mut |_| Ok(()));
    assert!(matches!(none, Err(JournalError::Empty { .. })));
    assert!(contents(empty.path()).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever happens to the files, what is folded is what was written, from the start and in order.
    #[test]
    fn h30_any_damage_is_refused_or_leaves_a_true_beginning(
        damage in proptest::collection::vec((any::<usize>(), any::<usize>(), 1usize..9000, any::<u8>(), any::<bool>()), 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let events = made(dir.path());
        let all = segments(dir.path());
        for (segment, at, len, byte, zero) in damage {
            bend(&all[segment % all.len()], |bytes| {
                let from = at % bytes.len();
                let to = (from + len).min(bytes.len());
                for bent in &mut bytes[from..to] {
                    *bent = if zero { 0 } else { *bent ^ byte };
                }
            });
        }
        let mut folded = Vec::new();
        let verified = verify(dir.path(), keys(), &mut |record| {
            folded.push(Event::from(record));
            Ok(())
        });
        prop_assert!(events.starts_with(&folded));
        match (verified, try_open(dir.path())) {
            (Ok(_), Ok(opened)) => {
                prop_assert_eq!(&opened, &folded);
                // The repair is whole: a second open finds the same and cuts nothing.
                let (_, recovery, again) = reopen(dir.path());
                prop_assert_eq!((again, recovery.cut_bytes), (opened, 0));
            }
            (Err(_), Err(error)) => prop_assert!(error.to_string().contains(".segment")),
            (verified, opened) => prop_assert!(false, "{verified:?} but {opened:?}"),
        }
    }
}
