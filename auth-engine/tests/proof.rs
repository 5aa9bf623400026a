//! Proofs of a journal made by hand: what is right is believed, and whatever is changed, moved, left out or of another
//! is not.

use std::borrow::Cow;

use auth_engine::proof::bundle::{self, Bundle, ProofError};
use auth_engine::proof::consistency::{self, Consistency};
use auth_engine::proof::note::{Checkpoint, Signer, VerifierKey};
use auth_engine::proof::store::{self, Stored};
use ledger_core::event::Event;
use ledger_core::event::posting::{Ledger, Postings};
use ledger_core::event::tap::{
    AnsweredTooLate, Change, Changes, Facts, Hold, Raw, RepeatKey, Reply, Reversed, Said, Source, TapDecided, TapTaken,
    Trace,
};
use ledger_core::event::words::{Class, Kind, PartnerOutcome, Reason, State};
use ledger_core::id::{Id, Thing};
use ledger_core::journal::{Journal, KeySource, Options};
use ledger_core::keys::{Keyring, MasterKey};
use ledger_core::money::{Currency, Money};
use ledger_core::proof::{Salts, Tree};
use ledger_core::time::Timestamp;

const EPOCH: u32 = 1;

/// A journal of some authorizations, their events one among the other's.
struct Made {
    _dir: tempfile::TempDir,
    journal: Journal,
    keyring: std::sync::Arc<Keyring>,
    key: VerifierKey,
}

fn reply(reason: Reason) -> Reply {
    let response_code = if reason == Reason::Approved { *b"00" } else { *b"05" };
    Reply { reason, response_code, approval_code: 123_456, partial: None, balance: None }
}

fn taken(no: u64, amount: i64) -> Event<'static> {
    let mut postings = Postings::none();
    postings.transfer(Ledger::PoolAvailable(0), Ledger::PoolHeld(0), Currency::EUR, amount);
    let hold = Hold { source: Source::Pool(0), amount: Money::new(amount, Currency::EUR), rate: None };
    Event::TapTaken(TapTaken {
        facts: Facts {
            no,
            class: Class::Authorization,
            kind: Kind::Purchase,
            card: Some(3),
            amount,
            currency: Some(Currency::EUR),
            merchant_amount: amount,
            merchant_currency: 978,
            billed: false,
            trace: Trace { stan: 7, transmitted: 1_231_235_959, ..Trace::default() },
            parent: None,
            expires_at: Timestamp(1_800_000_000_000_000),
        },
        repeat: RepeatKey { key: [9; 16], content: 5 },
        raw: Raw { link: 0, sealed: Cow::Owned(vec![no as u8; 40]) },
        reply: None,
        first: Some(hold),
        second: None,
        cleared: 0,
        postings,
        partial_supported: false,
    })
}

fn change(no: u64, held: i64, state: State) -> Changes {
    Changes::from_iter([Change { no, source: Some(Source::Pool(0)), held, cleared: 0, state }])
}

fn said(late_by_us: Option<u64>) -> Said<'static> {
    let body = Cow::Borrowed(br#"{"decision":"approve"}"#.as_slice());
    Said { outcome: PartnerOutcome::Approve, reason: None, latency_us: 900, late_by_us, body, metadata_dropped: false }
}

fn decided(no: u64, previous: u64, held: i64) -> Event<'static> {
    let (reply, state) = match held {
        0 => (reply(Reason::PartnerDeclined), State::Declined),
        _ => (reply(Reason::Approved), State::Approved),
    };
    let changes = change(no, held, state);
    Event::TapDecided(TapDecided { no, previous, reply, said: Some(said(None)), changes, postings: Postings::none() })
}

fn too_late(no: u64, previous: u64) -> Event<'static> {
    Event::AnsweredTooLate(AnsweredTooLate { no, previous, said: said(Some(5_000)) })
}

fn reversed(no: u64, target: u64, previous: u64, amount: i64) -> Event<'static> {
    let mut postings = Postings::none();
    postings.transfer(Ledger::PoolHeld(0), Ledger::PoolAvailable(0), Currency::EUR, amount);
    Event::Reversed(Reversed {
        no,
        repeat: RepeatKey { key: [8; 16], content: 5 },
        raw: Raw { link: 0, sealed: Cow::Owned(vec![7; 30]) },
        reply: reply(Reason::Approved),
        target: Some(target),
        previous,
        changes: change(target, 0, State::Reversed),
        postings,
        unmatched: None,
    })
}

/// The first: 1 taken, 3 decided, 6 reversed. The second: 2 taken, 4 declined, 5 answered too late. The third: 7.
fn made(seed: u8) -> Made {
    let dir = tempfile::tempdir().expect("a directory");
    let keys = KeySource::new(MasterKey::from_bytes([seed; 32]), [seed; 80]);
    let (mut journal, _) = Journal::open(Options::new(dir.path()), keys, &mut |_| Ok(())).expect("a journal");
    journal.start_epoch(EPOCH);
    let events = [
        taken(1, 1250),
        taken(2, 990),
        decided(1, 1, 1250),
        decided(2, 2, 0),
        too_late(2, 4),
        reversed(3, 1, 3, 1250),
        taken(4, 100),
    ];
    for (at, event) in events.iter().enumerate() {
        journal.append(1_700_000_000_000_000 + at as i64, |out| event.encode(out));
        journal.commit().expect("durable");
    }
    let keyring = std::sync::Arc::clone(journal.keyring());
    let key = Signer::new(&keyring).verifier().clone();
    Made { _dir: dir, journal, keyring, key }
}

impl Made {
    fn prove(&self, no: u64) -> Result<Bundle, ProofError> {
        bundle::prove(&self.journal.reader(), &self.keyring, Id { epoch: EPOCH, no }, None)
    }

    fn proof(&self, no: u64) -> String {
        self.prove(no).expect("a proof").to_json()
    }

    /// The checkpoint of the first `size` events.
    fn stored(&self, size: u64) -> Stored {
        let (salts, mut tree) = (Salts::new(&self.keyring), Tree::new());
        let mut follower = self.journal.reader().follow(1);
        while let Some(block) = follower.next_block().expect("it reads") {
            block.iter().filter(|record| record.seq <= size).for_each(|record| tree.push(salts.leaf(&record)));
        }
        let checkpoint = Checkpoint { size, root: tree.root(), last_at: Timestamp(1) };
        Stored { checkpoint, note: checkpoint.sign(&Signer::new(&self.keyring)) }
    }
}

fn aut(no: u64) -> String {
    Id { epoch: EPOCH, no }.text(Thing::Authorization)
}

#[test]
fn what_is_right_is_believed_and_told() {
    let made = made(1);
    let shown = Bundle::verify(made.proof(1).as_bytes(), &made.key).expect("it holds");
    assert_eq!((shown.authorization, shown.checkpoint.size), (aut(1), 7));
    let kinds: Vec<(&str, &str)> = shown.events.iter().map(|e| (e.kind.as_str(), e.status.as_str())).collect();
    assert_eq!(kinds, [("tap_taken", "pending"), ("tap_decided", "approved"), ("reversed", "reversed")]);
    assert_eq!((shown.reading.amount.value.as_str(), shown.reading.held.value.as_str()), ("12.50", "0.00"));
    let shown = Bundle::verify(made.proof(2).as_bytes(), &made.key).expect("it holds");
    assert_eq!((shown.reading.status.as_str(), shown.events.len()), ("declined", 3), "a late answer is an event too");
    assert!(matches!(made.prove(9), Err(ProofError::Missing(_))));
    let other_epoch = Id { epoch: EPOCH + 1, no: 1 };
    let missing = bundle::prove(&made.journal.reader(), &made.keyring, other_epoch, None);
    assert!(matches!(missing, Err(ProofError::Missing(_))));
}

#[test]
fn a_file_with_any_byte_changed_is_refused_or_says_the_same() {
    let made = made(1);
    let file = made.proof(1).into_bytes();
    let shown = Bundle::verify(&file, &made.key).expect("it holds");
    let mut same = 0;
    for at in 0..file.len() {
        let mut bent = file.clone();
        for bit in 0..8 {
            bent[at] = file[at] ^ (1 << bit);
            if let Ok(other) = Bundle::verify(&bent, &made.key) {
                assert_eq!(other, shown, "byte {at}, bit {bit}");
                assert!(file[at].is_ascii_whitespace() && bent[at].is_ascii_whitespace(), "byte {at}, bit {bit}");
                same += 1;
            }
        }
        let end_of_line = at == file.len() - 1;
        assert!(end_of_line || Bundle::verify(&file[..at], &made.key).is_err(), "cut at {at}");
    }
    assert!(same < 8 * file.iter().filter(|byte| byte.is_ascii_whitespace()).count());
}

#[test]
fn only_the_key_of_its_journal_opens_it() {
    let (made, other) = (made(1), made(2));
    assert_ne!(made.key, other.key);
    for (part, key) in [(made.proof(1), &other.key), (other.proof(1), &made.key)] {
        let refused = Bundle::verify(part.as_bytes(), key);
        assert!(matches!(refused, Err(ProofError::Note { part: "checkpoint", .. })), "{refused:?}");
    }
}

/// Changes a proof as somebody would who has not the key.
fn bent(file: &str, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut value = serde_json::from_str(file).expect("JSON");
    change(&mut value);
    value.to_string().into_bytes()
}

#[test]
fn nothing_can_be_left_out_added_or_mixed() {
    let made = made(1);
    let (first, second) = (made.proof(1), made.proof(2));
    let theirs: serde_json::Value = serde_json::from_str(&second).expect("JSON");
    let refused = |what: &str, file: Vec<u8>| {
        let error = Bundle::verify(&file, &made.key).expect_err(what);
        assert!(matches!(error, ProofError::Mismatch(_) | ProofError::Form(_)), "{what}: {error}");
    };
    assert!(Bundle::verify(&bent(&first, |_| ()), &made.key).is_ok(), "written on one line it is the same");
    for at in 0..3 {
        let without = |proof: &mut serde_json::Value| {
            proof["events"].as_array_mut().expect("events").remove(at);
        };
        refused("an event left out", bent(&first, without));
        refused("another's event", bent(&first, |proof| proof["events"][at] = theirs["events"][at].clone()));
    }
    refused("no events", bent(&first, |proof| proof["events"] = serde_json::json!([])));
    refused("another's statement", bent(&first, |proof| proof["statement"] = theirs["statement"].clone()));
    refused("another's id", bent(&first, |proof| proof["authorization"] = aut(2).into()));
    refused("another's reading", bent(&first, |proof| proof["reading"] = theirs["reading"].clone()));
    refused("a word more", bent(&first, |proof| proof["events"][0]["reading"]["note"] = "paid".into()));
    refused("another order", bent(&first, |proof| proof["events"].as_array_mut().expect("events").reverse()));
    refused(
        "an event twice",
        bent(&first, |proof| {
            let events = proof["events"].as_array_mut().expect("events");
            events.push(events[2].clone());
        }),
    );
    refused("a word twice", first.replacen("\"status\"", "\"status\": \"cleared\", \"status\"", 1).into_bytes());
    // The statement as checkpoint: signed by the same key, and about something else.
    let swapped = bent(&first, |proof| proof["checkpoint"] = proof["statement"].clone());
    assert!(matches!(Bundle::verify(&swapped, &made.key), Err(ProofError::Note { part: "checkpoint", .. })));
}

#[test]
fn a_liar_with_the_key_is_held_to_the_chain() {
    let made = made(1);
    let signer = Signer::new(&made.keyring);
    let file = made.proof(1);
    let lie = |sequences: &str, keep: &[usize]| {
        bent(&file, |proof| {
            let statement = proof["statement"].as_str().expect("text");
            let text = statement.split_once("\n\n").expect("a note").0.replace("1 3 6", sequences);
            proof["statement"] = signer.sign(&format!("{text}\n")).into();
            let events = proof["events"].as_array().expect("events");
            proof["events"] = keep.iter().map(|at| events[*at].clone()).collect();
        })
    };
    assert!(Bundle::verify(&lie("1 3 6", &[0, 1, 2]), &made.key).is_ok());
    for (sequences, keep) in
        [("1 6", [0, 2].as_slice()), ("3 6", &[1, 2]), ("6 3 1", &[2, 1, 0]), ("1 3 3", &[0, 1, 1])]
    {
        let refused = Bundle::verify(&lie(sequences, keep), &made.key);
        assert!(matches!(refused, Err(ProofError::Mismatch(_))), "{sequences}: {refused:?}");
    }
}

#[test]
fn a_proof_shows_no_other_event() {
    let made = made(1);
    let salts = Salts::new(&made.keyring);
    let mut hidden = Vec::new();
    for seq in 1..=7 {
        let record = made.journal.reader().read(seq).expect("durable");
        hidden.push((seq, record.payload, salts.of(seq, EPOCH)));
    }
    for (no, own) in [(1, [1, 3, 6].as_slice()), (2, &[2, 4, 5]), (4, &[7])] {
        let file: serde_json::Value = serde_json::from_str(&made.proof(no)).expect("JSON");
        let text = file.to_string();
        let encode = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
        for (seq, payload, salt) in &hidden {
            let shown = own.contains(seq);
            assert_eq!((text.contains(&encode(payload)), text.contains(&encode(salt))), (shown, shown), "event {seq}");
        }
        for other in [1, 2, 4].into_iter().filter(|other| *other != no) {
            assert!(!text.contains(&aut(other)));
        }
        assert_eq!(file["events"].as_array().expect("events").len(), own.len());
    }
}

#[test]
fn a_stored_checkpoint_is_leaned_on_when_it_covers_all() {
    let made = made(1);
    let prove = |no, stored: &Stored| {
        bundle::prove(&made.journal.reader(), &made.keyring, Id { epoch: EPOCH, no }, Some(stored))
    };
    let size =
        |bundle: Bundle| Bundle::verify(bundle.to_json().as_bytes(), &made.key).expect("it holds").checkpoint.size;
    for (covers, first, second) in [(4, 7, 7), (5, 7, 5), (6, 6, 6), (7, 7, 7)] {
        let stored = made.stored(covers);
        assert_eq!(size(prove(1, &stored).expect("a proof")), first, "checkpoint of {covers}");
        assert_eq!(size(prove(2, &stored).expect("a proof")), second, "checkpoint of {covers}");
    }
    let beyond = made.stored(9);
    assert!(matches!(prove(1, &beyond), Err(ProofError::Checkpoint(_))), "the journal lost its end");
    let mut changed = made.stored(6);
    changed.checkpoint.root = [1; 32];
    assert!(matches!(prove(1, &changed), Err(ProofError::Checkpoint(_))), "another history");
}

#[test]
fn a_checkpoint_is_shown_to_be_the_beginning_of_a_later_one() {
    let made = made(1);
    let prove = |old: &Stored, stored: Option<&Stored>| {
        consistency::prove(&made.journal.reader(), &made.keyring, &old.note, stored)
    };
    for old in 1..=7 {
        let old_one = made.stored(old);
        for stored in (1..=7).map(|size| made.stored(size)) {
            let file = prove(&old_one, Some(&stored)).expect("a proof").to_json();
            let (a, b) = Consistency::verify(file.as_bytes(), &made.key).expect("it holds");
            let newer = if stored.checkpoint.size > old { stored.checkpoint.size } else { 7 };
            assert_eq!((a.size, b.size), (old, newer));
            for at in (0..file.len()).filter(|_| (old, newer) == (3, 7)) {
                let mut bent = file.clone().into_bytes();
                bent[at] ^= 1;
                let blank = file.as_bytes()[at].is_ascii_whitespace();
                assert!(blank || Consistency::verify(&bent, &made.key).is_err(), "byte {at}");
            }
        }
    }
    let other = made_with_another_history();
    let refused = consistency::prove(&other.journal.reader(), &other.keyring, &made.stored(6).note, None);
    assert!(matches!(refused, Err(ProofError::Checkpoint(_))), "{refused:?}");
    assert!(matches!(prove(&made.stored(8), None), Err(ProofError::Checkpoint(_))));
}

/// The same keys and another first event.
fn made_with_another_history() -> Made {
    let dir = tempfile::tempdir().expect("a directory");
    let keys = KeySource::new(MasterKey::from_bytes([1; 32]), [1; 80]);
    let (mut journal, _) = Journal::open(Options::new(dir.path()), keys, &mut |_| Ok(())).expect("a journal");
    journal.start_epoch(EPOCH);
    for no in 1..=7 {
        journal.append(1, |out| taken(no, 5).encode(out));
    }
    journal.commit().expect("durable");
    let keyring = std::sync::Arc::clone(journal.keyring());
    let key = Signer::new(&keyring).verifier().clone();
    Made { _dir: dir, journal, keyring, key }
}

#[test]
fn the_log_is_read_whole_or_refused_where_it_is_not() {
    let made = made(1);
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("log");
    let stored: Vec<Stored> = [2, 4, 6].into_iter().map(|size| made.stored(size)).collect();
    let whole: String = stored.iter().map(|stored| format!("{}\n", stored.note)).collect();
    let read = |bytes: &[u8]| {
        std::fs::write(&log, bytes).expect("writable");
        store::read_all(dir.path(), &made.key)
    };
    assert_eq!(read(whole.as_bytes()).expect("whole"), stored);
    assert_eq!(store::read_last(dir.path(), &made.key).expect("whole").as_ref(), stored.last());
    let lens: Vec<usize> = stored.iter().map(|stored| stored.note.len() + 1).collect();
    let begin_of_last: usize = lens.iter().take(2).sum();
    for at in 0..whole.len() {
        // A write that did not finish is short, or ends in zeros.
        let kept = lens
            .iter()
            .scan(0, |end, len| {
                *end += len;
                Some(*end)
            })
            .filter(|end| *end <= at)
            .count();
        let mut zeros = whole.clone().into_bytes();
        zeros[at..].fill(0);
        for torn in [&whole.as_bytes()[..at], &zeros] {
            assert_eq!(read(torn).expect("a torn end is no damage").len(), kept, "cut at {at}");
        }
        let mut bent = whole.clone().into_bytes();
        bent[at] ^= 1;
        match read(&bent) {
            Ok(read) => assert!(at >= begin_of_last && read == stored[..2], "byte {at} changes nothing in silence"),
            Err(error) => assert!(error.to_string().contains("at byte"), "{error}"),
        }
    }
    assert_eq!(read(b"").expect("empty"), []);
    std::fs::write(&log, &whole).expect("writable");
    assert_eq!(store::cut(dir.path(), 4).expect("cut"), 1);
    assert_eq!(store::read_all(dir.path(), &made.key).expect("whole"), stored[..2]);
    assert_eq!(std::fs::read(dir.path().join("log.before-cut-4")).expect("a copy"), whole.as_bytes());
    assert_eq!(store::cut(dir.path(), 4).expect("nothing left to cut"), 0);
}

#[test]
fn the_end_of_a_long_log_is_found_without_the_rest() {
    let made = made(1);
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("log");
    let signer = Signer::new(&made.keyring);
    let note = |size| Checkpoint { size, root: [3; 32], last_at: Timestamp(0) }.sign(&signer) + "\n";
    let whole: String = (1..=400).map(note).collect();
    assert!(whole.len() > 100 << 10);
    for torn in [0, 1, 100] {
        std::fs::write(&log, &whole.as_bytes()[..whole.len() - torn]).expect("writable");
        let last = store::read_last(dir.path(), &made.key).expect("whole").expect("one");
        assert_eq!(last.checkpoint.size, if torn == 0 { 400 } else { 399 });
    }
    std::fs::write(&log, vec![b'x'; 100 << 10]).expect("writable");
    assert!(store::read_last(dir.path(), &made.key).is_err());
}

/// A proof that was made by the first version is read by every later one.
#[test]
fn a_proof_of_the_first_version_still_holds() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/proofs");
    let (key, file) = (path.join("journal.key"), path.join("authorization-1.json"));
    if std::env::var_os("NEW_PROOF_FIXTURE").is_some() {
        let made = made(1);
        std::fs::create_dir_all(&path).expect("writable");
        std::fs::write(&key, format!("{}\n", made.key)).expect("writable");
        std::fs::write(&file, made.proof(1)).expect("writable");
    }
    let key = VerifierKey::parse(&std::fs::read_to_string(key).expect("the fixture")).expect("a key");
    let shown = Bundle::verify(&std::fs::read(file).expect("the fixture"), &key).expect("it holds");
    assert_eq!((shown.authorization, shown.reading.status.as_str()), (aut(1), "reversed"));
}
