//! A listener that approves every request and does nothing else: no journal, no book. It owns the least a target can
//! cost, so that the generator's own cost and reach can be measured; nothing may be compared with it as an engine.

use crate::fault::Fault;
use bytes::{Bytes, BytesMut};
use iso_codec::{Builder, Spec, decode};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Elements of the request that its reply repeats.
const RETURNED: [u8; 11] = [2, 3, 4, 7, 11, 32, 33, 37, 41, 49, 63];
/// Bytes that one read takes at most.
const ROOM: usize = 64 << 10;

/// Arguments of `echo-server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Wait so long before each batch of replies
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pause: humantime::Duration,
}

/// Runs `echo-server` until it is killed: a thread for each connection.
pub(crate) fn run(args: &Args) -> Result<ExitCode, Fault> {
    let spec = Spec::embedded("mastercard");
    let spec = spec.ok_or_else(|| Fault::Message("the spec `mastercard` is not compiled in".to_owned()))?;
    let listener = TcpListener::bind(args.listen).map_err(Fault::io(format!("listening on {}", args.listen)))?;
    println!("echo listening on {}", listener.local_addr().map_err(Fault::io("the echo's own address"))?);
    loop {
        let (stream, _) = listener.accept().map_err(Fault::io("accepting a connection"))?;
        let (spec, pause) = (Arc::clone(&spec), args.pause.into());
        std::thread::spawn(move || match answer(stream, &spec, pause) {
            Ok(()) => {}
            Err(error) => eprintln!("a connection of the echo: {error}"),
        });
    }
}

/// Answers what comes until the peer is done; all whole frames of a read in one write.
fn answer(mut stream: TcpStream, spec: &Arc<Spec>, pause: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut inbox = vec![0; ROOM];
    let (mut held, mut out) = (0, BytesMut::with_capacity(ROOM));
    loop {
        let count = stream.read(inbox.get_mut(held..).unwrap_or_default())?;
        if count == 0 {
            return Ok(());
        }
        held += count;
        let mut at = 0;
        while let Some((length, rest)) = inbox.get(at..held).and_then(|bytes| bytes.split_first_chunk::<2>()) {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some(frame) = rest.get(..length) else { break };
            reply(spec, frame, &mut out)?;
            at += 2 + length;
        }
        inbox.copy_within(at..held, 0);
        held -= at;
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
        stream.write_all(&out)?;
        out.clear();
    }
}

fn reply(spec: &Arc<Spec>, frame: &[u8], out: &mut BytesMut) -> io::Result<()> {
    let request = decode(spec, Bytes::copy_from_slice(frame)).map_err(io::Error::other)?;
    let at = out.len();
    out.extend_from_slice(&[0; 2]);
    let mut builder = Builder::new(spec, request.mti().response(), out);
    let mut coded = false;
    for n in RETURNED {
        if n > 39 && !coded {
            coded = true;
            builder.text(39, b"00").map_err(io::Error::other)?;
        }
        if request.has(n) {
            builder.copy(n, &request).map_err(io::Error::other)?;
        }
    }
    builder.finish().map_err(io::Error::other)?;
    let length = u16::try_from(out.len() - at - 2).map_err(io::Error::other)?;
    if let Some(place) = out.get_mut(at..at + 2) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
