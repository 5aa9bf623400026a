//! The naive baseline: a thread for each connection, one mutex around everything, a sync for each tap while it is
//! held. It is what one writes first, and it is right: nothing is answered that is not durable. It must do the same
//! work for a tap as the engine does, but for sealing.

use super::appender::Appender;
use super::tap::{self, Answer, LARGEST, Read, Remembered, Tap};
use crate::fault::Fault;
use bytes::{Bytes, BytesMut};
use iso_codec::{Message, Spec};
use std::collections::HashMap;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

/// Decisions that are remembered for repeats; beyond them new taps are answered 91, as the engine does.
pub(super) const REMEMBERED: usize = 16_000_000;

/// Arguments of `naive-server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file to append to; it is filled with zeros first
    #[arg(long)]
    file: PathBuf,
    /// Cards that exist
    #[arg(long, default_value_t = 1000)]
    cards: u32,
    /// Euro cents in the one pool that pays for all of them
    #[arg(long)]
    pool: i64,
}

/// All state, under one lock.
struct Book {
    /// Card to whether it may be used.
    cards: HashMap<u64, bool>,
    available: i64,
    held: i64,
    repeats: HashMap<tap::Key, Remembered>,
    decided: u64,
    journal: Appender,
    record: Vec<u8>,
}

/// Runs `naive-server`, until it is killed.
pub(crate) fn serve(args: &Args) -> Result<ExitCode, Fault> {
    let spec = tap::spec()?;
    let book = Arc::new(Mutex::new(Book {
        cards: (0..args.cards).map(|n| (tap::pan(n), true)).collect(),
        available: args.pool,
        held: 0,
        repeats: HashMap::new(),
        decided: 0,
        journal: Appender::create(&args.file)?,
        record: Vec::new(),
    }));
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Fault::io("listening on 127.0.0.1"))?;
    let addr = listener.local_addr().map_err(Fault::io("the naive server's own address"))?;
    println!("naive listening on {addr}");
    loop {
        let (stream, _) = listener.accept().map_err(Fault::io("accepting a connection"))?;
        let (spec, book) = (Arc::clone(&spec), Arc::clone(&book));
        std::thread::spawn(move || {
            // The end of a connection is no fault; the next one may come.
            let _ = talk(&stream, &spec, &book);
        });
    }
}

/// One connection, a message at a time.
fn talk(stream: &TcpStream, spec: &Arc<Spec>, book: &Mutex<Book>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = BufReader::with_capacity(64 << 10, stream);
    let mut output = stream;
    let mut out = BytesMut::with_capacity(1024);
    loop {
        let mut length = [0u8; 2];
        input.read_exact(&mut length)?;
        let length = usize::from(u16::from_be_bytes(length));
        if length > LARGEST {
            return Err(io::Error::other("a message that is too long"));
        }
        let mut frame = vec![0u8; length];
        input.read_exact(&mut frame)?;
        out.clear();
        let encoded = match tap::read(spec, Bytes::from(frame)) {
            Read::Nothing => continue,
            Read::Refused(message, code) => tap::reply(&message, Answer::Declined(code), &mut out),
            Read::Tap(message, tap) => {
                let mut book = book.lock().expect("a thread that fails with the book ends the process");
                book.decide(&message, &tap, &mut out)
            }
        };
        encoded.map_err(io::Error::other)?;
        output.write_all(&out)?;
    }
}

impl Book {
    /// Decides, makes the decision durable and writes the reply to `out`.
    fn decide(&mut self, message: &Message, tap: &Tap, out: &mut BytesMut) -> Result<(), iso_codec::EncodeError> {
        if let Some(known) = self.repeats.get(&tap.key) {
            if known.content != tap.content {
                return tap::reply(message, Answer::Declined(*b"94"), out);
            }
            out.extend_from_slice(&known.reply);
            return Ok(());
        }
        if self.repeats.len() >= REMEMBERED {
            return tap::reply(message, Answer::Declined(*b"91"), out);
        }
        let answer = match self.cards.get(&tap.pan) {
            None => Answer::Declined(*b"14"),
            Some(false) => Answer::Declined(*b"62"),
            Some(true) if self.available < tap.amount => Answer::Declined(*b"51"),
            Some(true) => Answer::Approved(tap::approval_code(self.decided)),
        };
        tap::reply(message, answer, out)?;
        self.decided += 1;
        if matches!(answer, Answer::Approved(_)) {
            self.available -= tap.amount;
            self.held += tap.amount;
        }
        self.record.clear();
        tap::record(message.frame(), answer, &mut self.record);
        if let Err(error) = self.journal.append(&self.record) {
            eprintln!("error: the naive server's journal: {error}");
            std::process::exit(3);
        }
        self.repeats.insert(tap.key, Remembered { content: tap.content, reply: out.as_ref().into() });
        Ok(())
    }
}
