//! Decoding a request and encoding its reply: ours beside the two published crates, on the same message.
//!
//! `cargo bench -p benches --bench codec`

#[path = "../src/allocations.rs"]
mod allocations;
#[path = "../src/codecs.rs"]
mod codecs;

use criterion::Criterion;
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

fn main() {
    let file = std::env::temp_dir().join(format!("iso8583-rs-{}.yaml", std::process::id()));
    std::fs::write(&file, codecs::peer_spec()).expect("the temporary directory takes a file");
    // SAFETY: nothing else runs yet, so nobody reads the environment.
    unsafe { std::env::set_var(codecs::SPEC_FILE, &file) };
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("decode and reply");
    for (name, codec) in codecs::all() {
        let mut codec = match codec {
            Ok(codec) => codec,
            Err(why) => {
                eprintln!("{name}: skipped: {why}");
                continue;
            }
        };
        // The first call may lay out tables.
        if let Err(why) = codec.answer() {
            eprintln!("{}: it does not answer a valid message: {why}", codec.name());
            continue;
        }
        let before = allocations::all();
        for _ in 0..100 {
            let _ = black_box(codec.answer());
        }
        eprintln!("{name}: {:.1} allocations a message", (allocations::all() - before) as f64 / 100.0);
        group.bench_function(name, |bencher| bencher.iter(|| codec.answer().map(<[u8]>::len)));
    }
    group.finish();
    criterion.final_summary();
    // One that stays behind is a kilobyte in the temporary directory.
    let _ = std::fs::remove_file(&file);
}
