//! The journal as its callers hold it: bytes in, a directory on disk, the same bytes out. Its hostile half is in
//! `journal_hostile.rs`.

mod journal_common;

use std::sync::atomic::Ordering;

use journal_common::{Model, keys, options, reopen};
use ledger_core::journal::{Journal, JournalError, SpareMaking, SyncMode};
use proptest::prelude::*;

#[test]
fn what_was_committed_is_there_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    {
        let (mut journal, recovery) = Journal::open(options(dir.path()), keys(), &mut |_| Ok(())).unwrap();
        assert!(recovery.created);
        assert_eq!((recovery.last_seq, recovery.last_epoch, journal.next_seq()), (0, 0, 1));
        journal.start_epoch(1);
        for payload in [&b"started"[..], b"", b"a top-up", &[0; 3000]] {
            model.append(&mut journal, 1_000_000, payload);
        }
        assert_eq!(journal.open_events(), 4);
        assert!(journal.open_bytes() > 3000);
        assert_eq!(journal.durable_seq(), 0);
        assert_eq!(journal.commit().unwrap(), 4);
        assert_eq!((journal.open_events(), journal.open_bytes()), (0, 0));
        model.append(&mut journal, 2_000_000, b"never committed");
    }
    model.forget_after(4);
    let (journal, recovery, events) = reopen(dir.path());
    assert_eq!(events, model.events);
    assert_eq!((recovery.last_seq, recovery.last_at, recovery.last_epoch), (4, 1_000_000, 1));
    assert_eq!((recovery.events, recovery.blocks, recovery.cut_bytes, recovery.created), (4, 1, 0, false));
    assert_eq!(journal.next_seq(), 5);
}

#[test]
fn sequences_and_epochs_go_on_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    for epoch in 1..=4 {
        let (mut journal, recovery, events) = reopen(dir.path());
        assert_eq!(events, model.events);
        assert_eq!(recovery.last_epoch, epoch - 1);
        journal.start_epoch(recovery.last_epoch + 1);
        for turn in 0..3 {
            model.append(&mut journal, i64::from(epoch) * 10 + turn, format!("{epoch}/{turn}").as_bytes());
            journal.commit().unwrap();
        }
        assert_eq!(journal.durable_seq(), u64::from(epoch) * 3);
    }
    let epochs: Vec<u32> = model.events.iter().map(|event| event.epoch).collect();
    assert_eq!(epochs, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
}

#[test]
fn an_epoch_that_does_not_rise_stops_the_journal() {
    for bad in [0, 3, 1 << 24] {
        let dir = tempfile::tempdir().unwrap();
        let (mut journal, ..) = reopen(dir.path());
        journal.start_epoch(3);
        Model::default().append(&mut journal, 0, b"started");
        journal.commit().unwrap();
        journal.start_epoch(bad);
        Model::default().append(&mut journal, 0, b"started");
        assert!(matches!(journal.commit(), Err(JournalError::Poisoned { .. })));
    }
}

#[test]
fn keys_seal_the_same_before_and_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let nonce = ledger_core::keys::Nonce { epoch: 1, seq: 1, field: 2 };
    let mut sealed = Vec::new();
    let fingerprint = {
        let (journal, ..) = reopen(dir.path());
        journal.keyring().seal(nonce, b"track", &mut sealed);
        journal.keyring().fingerprint(b"5351101234564242")
    };
    let (journal, ..) = reopen(dir.path());
    assert_eq!(journal.keyring().open(nonce, &sealed).unwrap(), b"track");
    assert_eq!(journal.keyring().fingerprint(b"5351101234564242"), fingerprint);
}

#[test]
fn many_segments_are_turned_over_and_read_back() {
    for (mode, spares) in [
        (SyncMode::Auto, SpareMaking::Thread),
        (SyncMode::Buffered, SpareMaking::Thread),
        (SyncMode::Auto, SpareMaking::Inline),
        (SyncMode::Buffered, SpareMaking::Inline),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        (options.mode, options.spares) = (mode, spares);
        let mut model = Model::default();
        {
            let (mut journal, _) = Journal::open(options.clone(), keys(), &mut |_| Ok(())).unwrap();
            journal.start_epoch(1);
            for turn in 0..100i64 {
                model.append(&mut journal, turn, &vec![turn as u8; 200 * turn as usize % 9000]);
                journal.commit().unwrap();
            }
            assert!(journal.stats().segments.load(Ordering::Relaxed) > 5);
            assert_eq!(journal.stats().events.load(Ordering::Relaxed), 100);
        }
        let mut events = Vec::new();
        let (_, recovery) = Journal::open(options, keys(), &mut |record| {
            events.push(journal_common::Event::from(record));
            Ok(())
        })
        .unwrap();
        assert_eq!(events, model.events);
        assert!(recovery.segments > 5);
    }
}

#[test]
fn a_batch_beyond_a_block_is_written_as_several() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    {
        let (mut journal, ..) = reopen(dir.path());
        journal.start_epoch(1);
        for turn in 0..300i64 {
            model.append(&mut journal, turn * 1000, &vec![turn as u8; 700]);
        }
        assert_eq!(journal.commit().unwrap(), 300);
    }
    assert_eq!(reopen(dir.path()).2, model.events);
}

#[test]
fn an_event_beyond_a_block_stops_the_journal_and_leaves_it_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    {
        let (mut journal, ..) = reopen(dir.path());
        journal.start_epoch(1);
        model.append(&mut journal, 0, b"small");
        journal.commit().unwrap();
        Model::default().append(&mut journal, 0, &[1; 70_000]);
        assert!(matches!(journal.commit(), Err(JournalError::EventTooLarge { seq: 2, .. })));
        assert!(matches!(journal.commit(), Err(JournalError::Poisoned { .. })));
        assert!(matches!(journal.complete(), Err(JournalError::Poisoned { .. })));
    }
    assert_eq!(reopen(dir.path()).2, model.events);
}

#[test]
fn a_reader_sees_durable_events_only() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, ..) = reopen(dir.path());
    journal.start_epoch(7);
    let reader = journal.reader();
    let mut follower = reader.follow(1);
    let mut model = Model::default();
    assert!(matches!(reader.read(1), Err(JournalError::NotDurable { seq: 1, durable: 0 })));
    assert!(follower.next_block().unwrap().is_none());
    for turn in 0..60u8 {
        for _ in 0..3 {
            model.append(&mut journal, i64::from(turn) - 30, &vec![turn; usize::from(turn) * 40]);
        }
        let before = journal.durable_seq();
        assert!(matches!(reader.read(before + 1), Err(JournalError::NotDurable { .. })));
        journal.submit().unwrap();
        assert!(matches!(reader.read(before + 1), Err(JournalError::NotDurable { .. })));
        assert!(follower.next_block().unwrap().is_none());
        journal.complete().unwrap();
        let block = follower.next_block().unwrap().unwrap();
        assert_eq!((block.first_seq(), block.last_seq(), block.iter().count()), (before + 1, before + 3, 3));
    }
    assert!(matches!(reader.read(0), Err(JournalError::NotDurable { .. })));
    for event in &model.events {
        let read = reader.read(event.seq).unwrap();
        assert_eq!((read.at, read.epoch, &read.payload), (event.at, event.epoch, &event.payload));
    }
}

#[test]
fn a_follower_crosses_segments_from_any_sequence_while_the_writer_writes() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    {
        let (mut journal, ..) = reopen(dir.path());
        journal.start_epoch(1);
        for turn in 0..40i64 {
            model.append(&mut journal, turn, &vec![1; 5000]);
            model.append(&mut journal, turn, b"x");
            journal.commit().unwrap();
        }
    }
    let (mut journal, ..) = reopen(dir.path());
    journal.start_epoch(2);
    let reader = journal.reader();
    let (total, from) = (240, [0, 1, 2, 79, 80, 81, 100, 239, 240]);
    let followers: Vec<_> = from
        .into_iter()
        .map(|from| {
            let mut follower = reader.follow(from);
            std::thread::spawn(move || {
                let mut events = Vec::new();
                while follower.position() <= total {
                    match follower.next_block().unwrap() {
                        Some(block) => events.extend(block.iter().map(journal_common::Event::from)),
                        None => std::thread::yield_now(),
                    }
                }
                (from, events)
            })
        })
        .collect();
    for turn in 0..160i64 {
        model.append(&mut journal, 100 + turn, &vec![turn as u8; 3000]);
        journal.commit().unwrap();
    }
    for follower in followers {
        let (from, events) = follower.join().unwrap();
        let expected: Vec<_> = model.events.iter().filter(|event| event.seq >= from).cloned().collect();
        assert_eq!(events, expected, "from {from}");
    }
}

#[test]
fn a_change_of_the_segment_size_keeps_old_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    for (turn, pages) in [16u64, 32, 8, 64].into_iter().enumerate() {
        let mut options = options(dir.path());
        options.segment_bytes = pages * 4096;
        let mut events = Vec::new();
        let (mut journal, recovery) = Journal::open(options, keys(), &mut |record| {
            events.push(journal_common::Event::from(record));
            Ok(())
        })
        .unwrap();
        assert_eq!(events, model.events);
        journal.start_epoch(recovery.last_epoch + 1);
        for event in 0..30 {
            let len = if event == 7 { pages as usize * 4096 - 3 * 4096 } else { 3000 };
            model.append(&mut journal, turn as i64, &vec![event; len]);
            journal.commit().unwrap();
        }
    }
    assert_eq!(reopen(dir.path()).2, model.events);
}

#[test]
fn zeros_inside_events_are_not_taken_for_sectors_never_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = Model::default();
    {
        let (mut journal, ..) = reopen(dir.path());
        journal.start_epoch(1);
        for len in [511, 512, 2000, 4096, 20_000] {
            model.append(&mut journal, 0, &vec![0; len]);
            journal.commit().unwrap();
        }
        for event in &model.events {
            assert_eq!(journal.reader().read(event.seq).unwrap().payload, event.payload);
        }
    }
    let (segment, offset, len) = journal_common::last_block(dir.path());
    let bytes = std::fs::read(&segment).unwrap();
    for sector in bytes[offset..offset + len].chunks(512) {
        assert!(sector.iter().any(|byte| *byte != 0));
    }
    assert_eq!(reopen(dir.path()).2, model.events);
}

#[test]
fn a_writer_faster_than_the_spares_waits_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    // Pauses that no test would outlast, were they not cut short when the writer stands still.
    options.pace = std::time::Duration::from_secs(3600);
    let (mut journal, _) = Journal::open(options, keys(), &mut |_| Ok(())).unwrap();
    journal.start_epoch(1);
    let mut model = Model::default();
    for turn in 0..60i64 {
        model.append(&mut journal, turn, &[1; 9000]);
        journal.commit().unwrap();
    }
    assert!(journal.stats().stalls.load(Ordering::Relaxed) > 0);
    drop(journal);
    assert_eq!(reopen(dir.path()).2, model.events);
}

#[derive(Clone, Debug)]
enum Step {
    Append(i64, Vec<u8>),
    Commit,
    Submit,
    Complete,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let payload = prop_oneof![
        8 => proptest::collection::vec(any::<u8>(), 0..600),
        1 => (0usize..20_000).prop_map(|len| vec![0; len]),
        1 => (0usize..20_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ];
    let at = prop_oneof![10 => 0i64..5_000_000, 1 => any::<i64>()];
    prop_oneof![
        12 => (at, payload).prop_map(|(at, payload)| Step::Append(at, payload)),
        4 => Just(Step::Commit),
        2 => Just(Step::Submit),
        2 => Just(Step::Complete),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_run_of_batches_and_reopens_folds_to_what_was_durable(
        steps in proptest::collection::vec(step(), 1..120),
        buffered in any::<bool>(),
        inline in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        options.mode = if buffered { SyncMode::Buffered } else { SyncMode::Auto };
        options.spares = if inline { SpareMaking::Inline } else { SpareMaking::Thread };
        let (mut journal, _) = Journal::open(options.clone(), keys(), &mut |_| Ok(())).unwrap();
        journal.start_epoch(1);
        let mut model = Model::default();
        for step in steps.into_iter().chain([Step::Reopen]) {
            match step {
                Step::Append(at, payload) => model.append(&mut journal, at, &payload),
                Step::Commit => { journal.commit().unwrap(); }
                Step::Submit => journal.submit().unwrap(),
                Step::Complete => { journal.complete().unwrap(); }
                Step::Reopen => {
                    // What was submitted is in the files, as it is when a process dies and the machine does not.
                    model.forget_after(journal.next_seq() - 1 - journal.open_events() as u64);
                    drop(journal);
                    let mut events = Vec::new();
                    let (opened, recovery) = Journal::open(options.clone(), keys(), &mut |record| {
                        events.push(journal_common::Event::from(record));
                        Ok(())
                    }).unwrap();
                    prop_assert_eq!(&events, &model.events);
                    prop_assert_eq!(recovery.cut_bytes, 0);
                    journal = opened;
                    journal.start_epoch(journal.epoch() + 1);
                }
            }
        }
    }
}
