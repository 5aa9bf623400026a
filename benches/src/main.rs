//! The harness that measures the engine and tries to break it, as a program of its own: it starts the real
//! binary, speaks to it over real sockets, and believes only what comes back.
//!
//! This file owns the command line. It must never be needed to run the engine, and nothing here is trusted by it.

mod allocations;
mod attacks;
mod client;
mod codecs;
mod crash;
mod engine;
mod facts;
mod fault;
mod fixture;
mod floor;
mod growth;
mod latency;
mod load;
mod measure;
mod messages;
mod path;
mod peers;
mod processors;
mod recover;
mod report;
mod result;
mod secured;
mod seed;
mod shape;
mod snapshots;
mod tap_bytes;
mod throughput;
mod turns;
mod view_lag;
mod webhook;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Floors, latencies and crashes of the authorization engine, on the real binary over real sockets.
#[derive(Debug, Parser)]
#[command(
    name = "benches",
    version,
    propagate_version = true,
    after_help = "Example:\n  cargo build --release -p auth-engine -p benches\n  target/release/benches latency\n  target/release/benches crash --rounds 20\n\nExit codes: 0 as asked; 1 the engine broke a promise; 2 the harness could not run."
)]
struct Root {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Latency beside the floor's of the same run: one tap in flight, at given rates, or with so many in flight
    Latency(Box<latency::Args>),
    /// The highest rate with p99 under a bound, with every step of the search
    Throughput(Box<throughput::Args>),
    /// Taps that a partner decides, by a given distribution of answers, beside their floor
    Webhook(Box<webhook::Args>),
    /// Kills the engine under load, again and again, and checks every acknowledged answer and every cent
    Crash(crash::Args),
    /// Shows results of earlier runs: tables, and one HTML page with plots
    Report(report::Args),
    /// The floor alone: TCP echo + append + fdatasync of the same bytes, the least that any durable engine costs
    Floor(floor::Args),
    /// The path of a tap in memory: nanoseconds and allocations by stage, without sockets
    Path(path::Args),
    /// Honest traffic beside slow, greedy and flooding peers, a stalling disk, an overload: with and without, in turns
    Attacks(attacks::Args),
    /// A data directory of millions of cards, made through the ledger's own append
    Seed(seed::Args),
    /// Time from the start of the process to ready on a seeded directory, page cache cold and warm
    Recover(recover::Args),
    /// Bytes of a tap: its events, its request, and what the disk takes with one and with a hundred in flight
    TapBytes(tap_bytes::Args),
    /// Making a snapshot of a seeded directory and beginning with it: time and memory
    Snapshots(snapshots::Args),
    /// One step of `snapshots`, a process of its own
    #[command(hide = true)]
    SnapshotStep(snapshots::StepArgs),
    /// One tap in flight on a thousand cards and on a million with open holds, in turns
    Growth(growth::Args),
    /// The engine, PostgreSQL, a naive server, a lock-free one and other codecs, in turns in one run
    Compare(peers::compare::Args),
    /// One tap in flight on a link with TLS and on one without, in turns, beside the floor
    Secured(secured::Args),
    /// CPU time of the shard's thread a tap, beside a server that only appends and syncs
    Cpu(shape::Args),
    /// The server of `cpu`, a process of its own
    #[command(hide = true)]
    ShapeServer(shape::ServerArgs),
    /// The floor's server, a process of its own (started by `latency` and `floor`)
    #[command(hide = true)]
    FloorServer(floor::ServerArgs),
    /// A listener that approves everything and keeps nothing: what the generator itself reaches
    #[command(hide = true)]
    EchoServer(load::echo::Args),
    /// The naive baseline's server: one mutex, a sync for each tap (started by `compare`)
    #[command(hide = true)]
    NaiveServer(peers::naive::Args),
    /// The lock-free alternative's server (started by `compare`)
    #[command(hide = true)]
    CasServer(peers::cas::Args),
    /// The codecs in turns (started by `compare`)
    #[command(hide = true)]
    CodecPeers(peers::codec_turns::Args),
}

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

fn main() -> ExitCode {
    // A large page is cleared in one piece, milliseconds in which the generator would be late.
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        eprintln!("large pages stay: {error}");
    }
    let outcome = match Root::parse().command {
        Command::Latency(args) => latency::run(&args),
        Command::Throughput(args) => throughput::run(&args),
        Command::Webhook(args) => webhook::run(&args),
        Command::Crash(args) => crash::run(&args),
        Command::Floor(args) => floor::run(&args),
        Command::Path(args) => path::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Attacks(args) => attacks::run(&args),
        Command::Seed(args) => seed::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::TapBytes(args) => tap_bytes::run(&args),
        Command::Snapshots(args) => snapshots::run(&args),
        Command::SnapshotStep(args) => snapshots::step(&args),
        Command::Growth(args) => growth::run(&args),
        Command::Secured(args) => secured::run(&args),
        Command::Cpu(args) => shape::run(&args),
        Command::ShapeServer(args) => shape::serve(&args),
        Command::FloorServer(args) => floor::serve(&args),
        Command::EchoServer(args) => load::echo::run(&args),
        Command::Compare(args) => peers::compare::run(&args),
        Command::NaiveServer(args) => peers::naive::serve(&args),
        Command::CasServer(args) => peers::cas::serve(&args),
        Command::CodecPeers(args) => peers::codec_turns::serve(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::from(2)
        }
    }
}
