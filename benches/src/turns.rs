//! One tap in flight beside the floor, in turns, in one run. It owns the order of the turns; it must never compare
//! figures that were not taken side by side.

use crate::client::Link;
use crate::fault::Fault;
use crate::floor::Floor;
use crate::measure::{Series, WINDOW};
use crate::messages::Messages;
use crate::result::RunResult;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a tap may take before the run is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many, in turns of what length.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Turns {
    /// One in flight: samples of each, after the warm-up
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(100..))]
    pub(crate) samples: u32,
    /// One in flight: taps in one turn
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) turn: u32,
    /// One in flight: taps of each before the first sample
    #[arg(long, default_value_t = 500)]
    pub(crate) warm_up: u32,
}

/// A connection to a target, and a card that it approves.
pub(crate) struct Taps<S = TcpStream> {
    link: Link<S>,
    messages: Messages,
    pan: String,
    reply: Vec<u8>,
}

impl Taps {
    /// Connects.
    pub(crate) fn new(target: SocketAddr, pan: String) -> Result<Taps, Fault> {
        let link = Link::connect(target, PATIENCE).map_err(Fault::io(format!("connecting to the target {target}")))?;
        Taps::on(link, pan)
    }
}

impl<S: io::Read + io::Write> Taps<S> {
    /// On a connection that is open.
    pub(crate) fn on(link: Link<S>, pan: String) -> Result<Self, Fault> {
        Ok(Taps { link, messages: Messages::new()?, pan, reply: Vec::new() })
    }

    /// Bytes of a request and of its reply, by one tap.
    pub(crate) fn sizes(&mut self) -> Result<(usize, usize), Fault> {
        let request = self.request()?;
        self.sample(&request)?;
        Ok((request.len(), self.reply.len()))
    }

    /// A tap that was not sent before.
    pub(crate) fn request(&self) -> Result<bytes::Bytes, Fault> {
        Ok(self.messages.tap(0x0100, &self.pan, 1250, "5812")?.0)
    }

    /// One tap, from the write to the whole reply. That it was approved is looked at outside the time.
    pub(crate) fn sample(&mut self, request: &[u8]) -> Result<Duration, Fault> {
        let from = Instant::now();
        self.link.exchange(request, &mut self.reply).map_err(Fault::io("a tap"))?;
        let took = from.elapsed();
        match self.messages.code(&self.reply).as_deref() {
            Some("00") => Ok(took),
            other => Err(Fault::Engine(format!("a tap was answered {} instead of 00", other.unwrap_or("unreadably")))),
        }
    }
}

impl Turns {
    /// Taps, the floor, and a second floor that is only told beside it, in turns: the result of the taps.
    pub(crate) fn run(
        &self,
        taps: &mut Taps,
        floor: &mut Floor,
        mut direct: Option<&mut Floor>,
    ) -> Result<RunResult, Fault> {
        let (mut of_taps, mut of_floor, mut of_direct) = (Series::default(), Series::default(), Series::default());
        let mut turn = |length: u32, first: u32, keep: bool| -> Result<(), Fault> {
            let requests = (0..length).map(|_| taps.request()).collect::<Result<Vec<_>, _>>()?;
            // Who begins changes from turn to turn, so that nobody always runs behind the same one.
            for at in 0..3 {
                for request in &requests {
                    let (series, took) = match (first + at) % 3 {
                        0 => (&mut of_taps, taps.sample(request)?),
                        1 => (&mut of_floor, floor.sample(request)?),
                        _ => match &mut direct {
                            Some(direct) => (&mut of_direct, direct.sample(request)?),
                            None => break,
                        },
                    };
                    if keep {
                        series.push(took);
                    }
                }
            }
            Ok(())
        };
        turn(self.warm_up, 0, false)?;
        let (mut done, mut at) = (0, 0);
        while done < self.samples {
            let length = self.turn.min(self.samples - done);
            turn(length, at, true)?;
            done += length;
            at += 1;
        }

        let (own, floor) = (of_taps.summary("taps"), of_floor.summary("floor"));
        let ratio = own.over(&floor);
        let mut result = RunResult { shape: "one".to_owned(), ..own.result() };
        result.sent = own.samples as u64;
        result.answered = result.sent;
        result.rate_per_s = of_taps.rate();
        result.answered_per_s = result.rate_per_s;
        result.floor_p50_us = floor.p50_us;
        result.floor_p99_us = floor.p99_us;
        result.ratio_p50 = ratio.p50;
        result.ratio_p99 = ratio.p99;
        result.curve = of_taps.curve();
        result.floor_curve = of_floor.curve();
        result.notes.push(format!(
            "in turns of {} with the floor; W50 and W99 are medians over windows of {WINDOW} taps, {:.2} and {:.2} \
             times the floor's",
            self.turn, ratio.window_p50, ratio.window_p99
        ));
        if !of_direct.is_empty() {
            let direct = of_direct.summary("direct");
            let text = "a floor with O_DIRECT|O_DSYNC blocks of 4 KiB instead, for information";
            result.notes.push(format!("{text}: p50 {:.1}, p99 {:.1} µs", direct.p50_us, direct.p99_us));
        }
        Ok(result)
    }
}
