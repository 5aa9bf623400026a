//! Decoding and encoding: ours beside the two published crates on the same messages, and beside the floor, copying and
//! translating the same bytes. Ends with one table of all.
//!
//! `cargo bench -p benches --bench codec`

#[path = "../src/allocations.rs"]
mod allocations;
#[path = "../src/codecs.rs"]
mod codecs;

use bytes::{Bytes, BytesMut};
use comfy_table::{CellAlignment, Table, presets};
use criterion::Criterion;
use criterion::measurement::WallTime;
use iso_8583_rs::CompiledSpec;
use iso_8583_rs::specfile::{FieldDescription, Spec as SpecFile};
use iso_codec::{Builder, Charset, Draft, Mti, Spec, decode};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// One line of the table.
struct Line {
    group: &'static str,
    name: String,
    nanoseconds: f64,
    allocations: f64,
}

/// The message that `iso_8583_rs` is measured on: 120 bytes of ASCII, eleven elements.
const ASCII_120: [(u8, &str); 11] = [
    (2, "4111111111111111"),
    (3, "000000"),
    (4, "000000010000"),
    (7, "0131120000"),
    (11, "123456"),
    (12, "120000"),
    (13, "0131"),
    (22, "051"),
    (37, "603112000123"),
    (41, "TERM0001"),
    (42, "MERCHANT0000042"),
];

fn main() {
    let file = std::env::temp_dir().join(format!("iso8583-rs-{}.yaml", std::process::id()));
    std::fs::write(&file, codecs::peer_spec()).expect("the temporary directory takes a file");
    // SAFETY: nothing else runs yet, so nobody reads the environment.
    unsafe { std::env::set_var(codecs::SPEC_FILE, &file) };
    let mut criterion = Criterion::default().configure_from_args();
    let mut lines = Vec::new();
    answers(&mut criterion, &mut lines);
    ascii(&mut criterion, &mut lines);
    ebcdic(&mut criterion, &mut lines);
    criterion.final_summary();
    print(&lines);
    // One that stays behind is a kilobyte in the temporary directory.
    let _ = std::fs::remove_file(&file);
}

/// Measures one thing, and keeps its mean and its allocations.
fn measure(
    criterion: &mut Criterion<WallTime>,
    lines: &mut Vec<Line>,
    group: &'static str,
    name: &str,
    mut work: impl FnMut() -> usize,
) {
    // The first call may lay out tables.
    black_box(work());
    let before = allocations::all();
    for _ in 0..100 {
        black_box(work());
    }
    let allocations = (allocations::all() - before) as f64 / 100.0;
    let (took, turns) = (Cell::new(Duration::ZERO), Cell::new(0u64));
    criterion.benchmark_group(group).bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let from = Instant::now();
            for _ in 0..iterations {
                black_box(work());
            }
            let elapsed = from.elapsed();
            took.set(took.get() + elapsed);
            turns.set(turns.get() + iterations);
            elapsed
        });
    });
    if turns.get() > 0 {
        let nanoseconds = took.get().as_secs_f64() * 1e9 / turns.get() as f64;
        lines.push(Line { group, name: name.to_owned(), nanoseconds, allocations });
    }
}

/// A request read and its reply written, by every codec in the layout that it can speak.
fn answers(criterion: &mut Criterion<WallTime>, lines: &mut Vec<Line>) {
    for (name, codec) in codecs::all() {
        let mut codec = match codec {
            Ok(codec) => codec,
            Err(why) => {
                eprintln!("{name}: skipped: {why}");
                continue;
            }
        };
        if let Err(why) = codec.answer() {
            eprintln!("{}: it does not answer a valid message: {why}", codec.name());
            continue;
        }
        measure(criterion, lines, "decode and reply", name, || codec.answer().map_or(0, <[u8]>::len));
    }
}

/// Reading and writing the 120 bytes.
fn ascii(criterion: &mut Criterion<WallTime>, lines: &mut Vec<Line>) {
    const GROUP: &str = "120 bytes of ASCII";
    let spec = Spec::embedded("iso1987-ascii").expect("it is compiled in");
    let mut draft = Draft::new(Mti(0x0200));
    for (n, text) in ASCII_120 {
        draft.set_text(n, text);
    }
    let frame = draft.encode(&spec).expect("it fits the spec");
    assert_eq!(frame.len(), 120);
    measure(criterion, lines, GROUP, "iso-codec: decode, all checked", || {
        decode(&spec, frame.clone()).map_or(0, |message| message.frame().len())
    });
    // Ours owns its frame, the peer borrows: here neither counts who has it. A hundred bytes are never given back.
    let lent = Bytes::from_static(Box::leak(frame.to_vec().into_boxed_slice()));
    measure(criterion, lines, GROUP, "iso-codec: decode, all checked, of a frame not counted", || {
        decode(&spec, lent.clone()).map_or(0, |message| message.frame().len())
    });
    let mut out = BytesMut::with_capacity(1024);
    measure(criterion, lines, GROUP, "iso-codec: encode, all checked", || {
        out.clear();
        let mut builder = Builder::new(&spec, Mti(0x0200), &mut out);
        for (n, text) in ASCII_120 {
            builder.text(n, text.as_bytes()).expect("it fits the spec");
        }
        builder.finish().expect("it fits a frame")
    });
    assert_eq!(out, frame);

    let fields = ASCII_120.map(|(n, text)| {
        let field = spec.field(n).expect("an element of the spec");
        let kind = field.kind.letters().to_owned();
        let (len_type, max_len) = if n == 2 { ("llvar", 19) } else { ("fixed", text.len()) };
        let (content_type, len_type, label) = (kind, len_type.to_owned(), String::new());
        (i64::from(n), FieldDescription { content_type, max_len, min_len: 0, len_type, label })
    });
    let peer = CompiledSpec::compile(&SpecFile { fields: fields.into_iter().collect() }).expect("its own form");
    measure(criterion, lines, GROUP, "iso_8583_rs 0.2: parse, all checked", || {
        iso_8583_rs::Message::parse(&peer, black_box(&frame)).map_or(0, |message| usize::from(message.has(2)))
    });
    measure(criterion, lines, GROUP, "iso_8583_rs 0.2: parse, nothing checked", || {
        iso_8583_rs::Message::parse_lazy(&peer, black_box(&frame)).map_or(0, |message| usize::from(message.has(2)))
    });
    let mut packed = Vec::with_capacity(1024);
    measure(criterion, lines, GROUP, "iso_8583_rs 0.2: build and pack", || {
        let mut builder = iso_8583_rs::Builder::new(&peer, b"0200").expect("a type");
        for (n, text) in ASCII_120 {
            builder.set(usize::from(n), text.as_bytes()).expect("it fits the spec");
        }
        packed.clear();
        builder.pack_into(&mut packed);
        packed.len()
    });
    assert_eq!(packed, frame, "both write the same bytes");
}

/// A 0100 of 390 bytes with DE48 and DE55.
fn ebcdic(criterion: &mut Criterion<WallTime>, lines: &mut Vec<Line>) {
    const GROUP: &str = "390 bytes of EBCDIC, 0100 with DE48 and DE55";
    let spec = Spec::embedded("mastercard").expect("it is compiled in");
    let frame = purchase(&spec);
    assert_eq!(frame.len(), 390);
    let contents: Vec<(u8, Vec<u8>, bool)> = {
        let message = decode(&spec, frame.clone()).expect("a good message");
        let raw = |n| n == 48 || n == 55;
        let content =
            |n| if raw(n) { message.raw(n).map(<[u8]>::to_vec) } else { message.string(n).map(String::into_bytes) };
        message.present().filter_map(|n| Some((n, content(n)?, raw(n)))).collect()
    };
    measure(criterion, lines, GROUP, "iso-codec: decode, all checked, sub-elements walked", || {
        let Ok(message) = decode(&spec, frame.clone()) else { return 0 };
        message.subs(48).count() + message.tlvs(55).count()
    });
    measure(criterion, lines, GROUP, "iso-codec: decode, all checked", || {
        decode(&spec, frame.clone()).map_or(0, |message| message.frame().len())
    });
    let mut out = BytesMut::with_capacity(1024);
    measure(criterion, lines, GROUP, "iso-codec: encode, all checked", || {
        out.clear();
        let mut builder = Builder::new(&spec, Mti(0x0100), &mut out);
        for (n, content, raw) in &contents {
            let written = if *raw { builder.raw(*n, content) } else { builder.text(*n, content) };
            written.expect("it fits the spec");
        }
        builder.finish().expect("it fits a frame")
    });
    assert_eq!(out, frame);
    let table: [u8; 256] = std::array::from_fn(|byte| Charset::EbcdicCp500.to_latin1(byte as u8));
    let mut text = vec![0u8; frame.len()];
    measure(criterion, lines, GROUP, "floor: copy and translate the same bytes", || {
        for (to, from) in text.iter_mut().zip(black_box(&frame)) {
            *to = table[usize::from(*from)];
        }
        text.len()
    });
}

/// The message: what a purchase by chip carries.
fn purchase(spec: &Arc<Spec>) -> Bytes {
    let mut draft = Draft::new(Mti(0x0100));
    let texts = [
        (2, "5351101200004242"),
        (3, "000000"),
        (4, "000000001340"),
        (6, "000000001250"),
        (7, "0131120000"),
        (10, "70932835"),
        (11, "000123"),
        (18, "5411"),
        (22, "051"),
        (32, "012345"),
        (37, "603112000123"),
        (41, "TERM0001"),
        (42, "MERCHANT0000042"),
        (43, "CORNER STORE 0042      SPRINGFIELD   USA"),
        (49, "840"),
        (51, "978"),
        (61, "00000000003008406270401"),
        (63, "MCC123456"),
    ];
    for (n, text) in texts {
        draft.set_text(n, text);
    }
    draft.set_subs(48, &[("TCC", "R"), ("42", "0103210"), ("61", "10001")]);
    // Tag 9F10 fills up what the others leave.
    let icc = "9F2608A1B2C3D4E5F607189F2701809F360200A7950500000080019A032601319C01009F02060000000013405F2A0208408202198\
               09F1A0208409F3303E0F8C8";
    let others = spec_len(&draft, spec, icc);
    draft.set_text(55, format!("{icc}9F10{:02X}{}", 390 - others, "0".repeat(2 * (390 - others))));
    draft.encode(spec).expect("it fits the spec")
}

/// Bytes of the message with that chip data and an empty tag 9F10 behind it.
fn spec_len(draft: &Draft, spec: &Arc<Spec>, icc: &str) -> usize {
    let mut draft = draft.clone();
    draft.set_text(55, format!("{icc}9F1000"));
    draft.encode(spec).expect("it fits the spec").len()
}

fn print(lines: &[Line]) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["message", "codec", "mean ns", "allocations"]);
    let mut group = "";
    for line in lines {
        let shown = if group == line.group { "" } else { line.group };
        group = line.group;
        let (ns, allocations) = (format!("{:.0}", line.nanoseconds), format!("{:.0}", line.allocations));
        table.add_row([shown.to_owned(), line.name.clone(), ns, allocations]);
    }
    for column in 2..4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("{table}");
}
