//! The switch over real sockets: what a peer can send, and what it gets back, byte by byte.
//!
//! The sink here echoes every frame. No test asserts how long anything took; limits are short so that a test
//! ends, and each wait is for an event.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use auth_engine::config::{Config, LinkConfig, Opening};
use auth_engine::switch::{ConnId, Inbound, PollClock, Sink, Switch, SwitchHandle};
use iso_codec::{Framing, Width};

/// Longer than any test takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Opened,
    Closed,
    Rejected(&'static str),
}

/// Echoes each frame, and tells the test what happened.
struct Echo {
    switch: RefCell<Option<SwitchHandle>>,
    events: mpsc::Sender<Event>,
    /// Replies to each frame.
    copies: Cell<usize>,
    /// Tells the age of each frame, and holds the thread up on the frame `stall` until told to go on.
    ages: Option<(mpsc::Sender<Age>, mpsc::Receiver<()>)>,
}

/// When a frame was handed on, and since when its age counts.
#[derive(Debug)]
struct Age {
    handled: Instant,
    since: Instant,
}

impl Sink for Echo {
    fn frame(&self, inbound: Inbound) {
        let handled = Instant::now();
        assert!(inbound.since <= handled, "a frame cannot come from the future");
        if let Some((ages, go)) = &self.ages {
            let _ = ages.send(Age { handled, since: inbound.since });
            if inbound.frame == b"stall"[..] {
                let _ = go.recv_timeout(PATIENCE);
                // As a disk that stalls: long enough that the clock asks the kernel about the next poll.
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if let Some(switch) = self.switch.borrow().as_ref() {
            for _ in 0..self.copies.get() {
                switch.send(inbound.conn, &inbound.header, &inbound.frame);
            }
            switch.flush();
        }
    }

    fn opened(&self, _link: usize, _conn: ConnId, _peer: SocketAddr) {
        let _ = self.events.send(Event::Opened);
    }

    fn closed(&self, _conn: ConnId) {
        let _ = self.events.send(Event::Closed);
    }

    fn rejected(&self, _link: usize, reason: &'static str) {
        let _ = self.events.send(Event::Rejected(reason));
    }
}

/// A switch with one link on a thread of its own.
struct Running {
    address: SocketAddr,
    events: mpsc::Receiver<Event>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !std::thread::panicking() {
                ended.expect("the switch's thread does not panic");
            }
        }
    }
}

impl Running {
    fn expect(&self, wanted: &Event) {
        loop {
            let event = self.events.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{wanted:?} never came"));
            if event == *wanted {
                return;
            }
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the link accepts");
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("read timeout");
        stream
    }
}

/// The defaults of a link, on a free port.
fn link() -> LinkConfig {
    let mut link = Config::from_parts(None, &[], None).expect("defaults are valid").links.remove(0);
    link.opening = Opening::Listen("127.0.0.1:0".parse().expect("an address"));
    link
}

fn start(link: LinkConfig) -> Running {
    start_with(link, 1)
}

fn start_with(link: LinkConfig, copies: usize) -> Running {
    start_telling(link, copies, None, false)
}

/// `turning`: another task on the thread never lets it park, as a shard under full load.
fn start_telling(
    link: LinkConfig,
    copies: usize,
    ages: Option<(mpsc::Sender<Age>, mpsc::Receiver<()>)>,
    turning: bool,
) -> Running {
    let (events_in, events) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all();
        let clock = PollClock::install(&mut builder);
        let runtime = builder.build().expect("a runtime");
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let bound = Switch::bind(&[link]).await.expect("a free port");
            let address = bound.addresses()[0].1;
            let sink = Rc::new(Echo { switch: RefCell::new(None), events: events_in, copies: Cell::new(copies), ages });
            if turning {
                let clock = clock.clone();
                tokio::task::spawn_local(async move {
                    loop {
                        clock.turn().await;
                    }
                });
            }
            let handle = bound.start(Rc::clone(&sink) as Rc<dyn Sink>, clock).expect("started");
            sink.switch.replace(Some(handle));
            tell.send(address).expect("the test waits");
            let _ = stopped.await;
            // The sink holds the handle and the handle the sink.
            sink.switch.replace(None);
        });
    });
    let address = told.recv_timeout(PATIENCE).expect("the switch starts");
    Running { address, events, stop: Some(stop), thread: Some(thread) }
}

/// One frame in the default framing.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("short");
    [&length.to_be_bytes(), message].concat()
}

fn expect_bytes(stream: &mut TcpStream, wanted: &[u8]) {
    let mut got = vec![0; wanted.len()];
    stream.read_exact(&mut got).expect("the echo comes");
    assert!(got == wanted, "the echo differs");
}

/// Reads to the end; a reset is an end too.
fn expect_end(stream: &mut TcpStream) {
    let mut rest = [0; 4096];
    loop {
        match stream.read(&mut rest) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                panic!("the connection stays open")
            }
            Err(_) => return,
        }
    }
}

fn still_serving(running: &Running) {
    let mut honest = running.connect();
    honest.write_all(&framed(b"honest")).expect("written");
    expect_bytes(&mut honest, &framed(b"honest"));
}

#[test]
fn h01_lengths_that_cannot_be_are_counted_and_close_where_framing_is_lost() {
    let mut config = link();
    config.max_frame = 1024;
    let running = start(config);

    // 0 leaves the place of the next frame known: the connection goes on.
    let mut stream = running.connect();
    stream.write_all(&[&[0, 0][..], &framed(b"after")].concat()).expect("written");
    expect_bytes(&mut stream, &framed(b"after"));
    running.expect(&Event::Rejected("zero_length"));

    let mut stream = running.connect();
    stream.write_all(&framed(b"x")).expect("written");
    expect_bytes(&mut stream, &framed(b"x"));

    for garbage in [&[0xff, 0xff, 1, 2, 3][..], &[4, 1, 0], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = running.connect();
        stream.write_all(garbage).expect("written");
        running.expect(&Event::Rejected("too_long"));
        expect_end(&mut stream);
        running.expect(&Event::Closed);
    }
    still_serving(&running);
}

#[test]
fn the_longest_frame_a_prefix_can_say_passes_when_it_is_allowed() {
    let mut config = link();
    config.max_frame = 65_535;
    let running = start(config);
    let mut stream = running.connect();
    let message: Vec<u8> = (0..65_535_u32).map(|n| n.to_le_bytes()[0]).collect();
    stream.write_all(&framed(&message)).expect("written");
    expect_bytes(&mut stream, &framed(&message));
}

#[test]
fn what_came_before_lost_framing_is_answered() {
    let running = start(link());
    let mut stream = running.connect();
    stream.write_all(&[framed(b"first"), framed(b"second"), vec![0xff, 0xff, 0, 0]].concat()).expect("written");
    expect_bytes(&mut stream, &[framed(b"first"), framed(b"second")].concat());
    expect_end(&mut stream);
    running.expect(&Event::Rejected("too_long"));
}

#[test]
fn h02_a_frame_cut_at_every_byte_costs_its_connection_alone() {
    let running = start(link());
    let whole = framed(b"a message that is cut somewhere");
    for cut in 0..whole.len() {
        let mut stream = running.connect();
        stream.write_all(&framed(b"whole")).expect("written");
        stream.write_all(&whole[..cut]).expect("written");
        stream.shutdown(Shutdown::Write).expect("half closed");
        expect_bytes(&mut stream, &framed(b"whole"));
        expect_end(&mut stream);
        if cut > 0 {
            running.expect(&Event::Rejected("cut_frame"));
        }
        running.expect(&Event::Closed);
    }
    still_serving(&running);
}

#[test]
fn h02_single_byte_writes_and_ten_in_one_write() {
    let running = start(link());
    let mut stream = running.connect();
    for byte in framed(b"slowly") {
        stream.write_all(&[byte]).expect("written");
    }
    expect_bytes(&mut stream, &framed(b"slowly"));

    let ten: Vec<u8> = (0..10).flat_map(|n| framed(format!("number {n}").as_bytes())).collect();
    stream.write_all(&ten).expect("written");
    expect_bytes(&mut stream, &ten);
}

#[test]
fn more_than_one_turn_of_reads_arrives_in_order() {
    let running = start(link());
    let mut stream = running.connect();
    let all: Vec<u8> = (0..40_000_u32).flat_map(|n| framed(format!("message {n:08}").as_bytes())).collect();
    let mut writer = stream.try_clone().expect("a second handle");
    let sent = all.clone();
    let writing = std::thread::spawn(move || writer.write_all(&sent));
    expect_bytes(&mut stream, &all);
    writing.join().expect("no panic").expect("written");
}

#[test]
fn a_peer_that_half_closes_still_gets_its_answers() {
    let running = start(link());
    let mut stream = running.connect();
    stream.write_all(&framed(b"ask")).expect("written");
    stream.shutdown(Shutdown::Write).expect("half closed");
    expect_bytes(&mut stream, &framed(b"ask"));
    expect_end(&mut stream);
}

#[test]
fn h05_an_unfinished_frame_is_cut_from_its_first_byte_on() {
    let mut config = link();
    config.frame_timeout = Duration::from_millis(200);
    let running = start(config);
    let mut slow = running.connect();
    let mut feeder = slow.try_clone().expect("a second handle");
    // A byte now and then must not buy time: this feeds until it is cut.
    let feeding = std::thread::spawn(move || {
        let _ = feeder.write_all(&[20, 0]);
        while feeder.write_all(&[0]).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    running.expect(&Event::Rejected("frame_timeout"));
    running.expect(&Event::Closed);
    expect_end(&mut slow);
    feeding.join().expect("the feeder ends");
    still_serving(&running);
}

#[test]
fn a_silent_connection_is_closed_and_that_is_no_fault() {
    let mut config = link();
    config.idle_timeout = Duration::from_millis(100);
    let running = start(config);
    let mut stream = running.connect();
    stream.write_all(&framed(b"hello")).expect("written");
    expect_bytes(&mut stream, &framed(b"hello"));
    expect_end(&mut stream);
    let events: Vec<Event> = std::iter::from_fn(|| running.events.recv_timeout(PATIENCE).ok()).take(2).collect();
    assert_eq!(events, [Event::Opened, Event::Closed]);
}

#[test]
fn h06_a_peer_that_never_reads_is_cut_off() {
    let mut config = link();
    config.out_buffer = 256 * 1024;
    let running = start_with(config, 64);
    let stream = running.connect();
    let mut writer = stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        let message = framed(&[7; 4096]);
        while writer.write_all(&message).is_ok() {}
    });
    running.expect(&Event::Rejected("slow_reader"));
    running.expect(&Event::Closed);
    writing.join().expect("the writer is refused");
    drop(stream);
    let mut honest = running.connect();
    honest.write_all(&framed(b"abcd")).expect("written");
    expect_bytes(&mut honest, &framed(b"abcd").repeat(64));
}

#[test]
fn a_link_has_only_so_many_connections() {
    let mut config = link();
    config.max_connections = 2;
    let running = start(config);
    let first = running.connect();
    running.expect(&Event::Opened);
    let _second = running.connect();
    running.expect(&Event::Opened);
    let mut third = running.connect();
    running.expect(&Event::Rejected("too_many_connections"));
    expect_end(&mut third);
    drop(first);
    running.expect(&Event::Closed);
    still_serving(&running);
}

#[test]
fn every_framing_inclusive_or_not_with_and_without_a_header() {
    for width in [Width::Len2Be, Width::Len2Le, Width::Len4Be, Width::Len4Ascii] {
        for inclusive in [false, true] {
            for header_bytes in [0, 5] {
                let mut config = link();
                config.framing = Framing { width, inclusive, header_bytes };
                let running = start(config);
                let header = vec![0x60; header_bytes];
                let message = b"a message of thirty-three bytes..";
                let prefix_bytes = if matches!(width, Width::Len2Be | Width::Len2Le) { 2 } else { 4 };
                let length = message.len() + header_bytes + if inclusive { prefix_bytes } else { 0 };
                let length = u16::try_from(length).expect("short");
                let prefix = match width {
                    Width::Len2Be => length.to_be_bytes().to_vec(),
                    Width::Len2Le => length.to_le_bytes().to_vec(),
                    Width::Len4Be => u32::from(length).to_be_bytes().to_vec(),
                    Width::Len4Ascii => format!("{length:04}").into_bytes(),
                };
                let frame = [prefix, header, message.to_vec()].concat();
                let mut stream = running.connect();
                for byte in &frame {
                    stream.write_all(&[*byte]).expect("written");
                }
                stream.write_all(&frame.repeat(3)).expect("written");
                expect_bytes(&mut stream, &frame.repeat(4));
            }
        }
    }
}

#[test]
fn lengths_that_are_no_number_or_count_too_little_lose_the_framing() {
    let mut config = link();
    config.framing = Framing { width: Width::Len4Ascii, inclusive: true, header_bytes: 2 };
    let running = start(config);
    for (bytes, reason) in [(b"-003abc", "bad_length"), (b"0003abc", "bad_length")] {
        let mut stream = running.connect();
        stream.write_all(bytes).expect("written");
        running.expect(&Event::Rejected(reason));
        expect_end(&mut stream);
    }
}

#[test]
fn an_address_in_use_is_told_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut config = link();
    config.opening = Opening::Listen(taken.local_addr().expect("an address"));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let error = runtime.block_on(Switch::bind(&[config])).expect_err("the address is taken");
    let failure = auth_engine::cli::Failure::from(error);
    assert_eq!(failure.code, 2);
    assert!(failure.message.contains("mastercard") && failure.message.contains("another `listen`"), "{failure}");
}

/// A connection on which one frame went there and back, so that its socket is known to be empty.
fn greeted(running: &Running, ages: &mpsc::Receiver<Age>) -> TcpStream {
    let mut stream = running.connect();
    stream.write_all(&framed(b"hello")).expect("written");
    expect_bytes(&mut stream, &framed(b"hello"));
    ages.recv_timeout(PATIENCE).expect("told");
    stream
}

#[test]
fn what_waited_while_the_thread_was_held_up_is_as_old_as_the_wait() {
    let (tell, ages) = mpsc::channel();
    let (go, wait) = mpsc::channel();
    let running = start_telling(link(), 1, Some((tell, wait)), false);
    let mut waiting = greeted(&running, &ages);
    let mut stalling = greeted(&running, &ages);
    stalling.write_all(&framed(b"stall")).expect("written");
    let stall = ages.recv_timeout(PATIENCE).expect("told");
    waiting.write_all(&framed(b"waited")).expect("written");
    go.send(()).expect("the sink waits");
    expect_bytes(&mut waiting, &framed(b"waited"));
    let waited = ages.recv_timeout(PATIENCE).expect("told");
    assert!(waited.since <= stall.handled, "the wait is missing: {waited:?} after {stall:?}");
}

#[test]
fn a_connection_that_waited_to_be_accepted_brings_frames_as_old_as_the_wait() {
    let (tell, ages) = mpsc::channel();
    let (go, wait) = mpsc::channel();
    let running = start_telling(link(), 1, Some((tell, wait)), false);
    let mut stalling = greeted(&running, &ages);
    stalling.write_all(&framed(b"stall")).expect("written");
    let stall = ages.recv_timeout(PATIENCE).expect("told");
    let mut waiting: Vec<_> = (0..3).map(|_| running.connect()).collect();
    for stream in &mut waiting {
        stream.write_all(&framed(b"waited")).expect("written");
    }
    go.send(()).expect("the sink waits");
    for stream in &mut waiting {
        expect_bytes(stream, &framed(b"waited"));
        let waited = ages.recv_timeout(PATIENCE).expect("told");
        assert!(waited.since <= stall.handled, "the wait is missing: {waited:?} after {stall:?}");
    }
}

#[test]
fn a_frame_on_an_idle_link_counts_from_its_wake_up() {
    let (tell, ages) = mpsc::channel();
    let (_go, wait) = mpsc::channel();
    let running = start_telling(link(), 1, Some((tell, wait)), false);
    let mut stream = greeted(&running, &ages);
    // Nothing tells that the thread is parked again, so one of several tries has to find it so. Counted from
    // the last read, none ever would.
    let young = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(2));
        let before = Instant::now();
        stream.write_all(&framed(b"hello")).expect("written");
        expect_bytes(&mut stream, &framed(b"hello"));
        ages.recv_timeout(PATIENCE).expect("told").since >= before
    });
    assert!(young);
}

#[test]
fn a_thread_that_never_parks_does_not_age_an_idle_link() {
    let (tell, ages) = mpsc::channel();
    let (_go, wait) = mpsc::channel();
    let running = start_telling(link(), 1, Some((tell, wait)), true);
    let mut stream = greeted(&running, &ages);
    let idle_from = Instant::now();
    std::thread::sleep(Duration::from_millis(50));
    stream.write_all(&framed(b"hello")).expect("written");
    expect_bytes(&mut stream, &framed(b"hello"));
    assert!(ages.recv_timeout(PATIENCE).expect("told").since > idle_from);
}
