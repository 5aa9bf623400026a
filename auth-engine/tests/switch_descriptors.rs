//! A process without free file descriptors: peers wait in the backlog and are served when one is free again.
//!
//! Alone in its file, because the limit holds for the whole process.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use auth_engine::config::{Config, Opening};
use auth_engine::switch::{ConnId, Inbound, PollClock, Sink, Switch};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

struct Opened(mpsc::Sender<()>);

impl Sink for Opened {
    fn frame(&self, _inbound: Inbound) {}
    fn opened(&self, _link: usize, _conn: ConnId, _peer: SocketAddr) {
        let _ = self.0.send(());
    }
    fn closed(&self, _conn: ConnId) {}
    fn rejected(&self, _link: usize, _reason: &'static str) {}
}

#[test]
fn without_descriptors_peers_wait_and_are_served_later() {
    let mut link = Config::from_parts(None, &[], None).expect("defaults").links.remove(0);
    link.opening = Opening::Listen("127.0.0.1:0".parse().expect("an address"));
    let (opened, was_opened) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all();
        let clock = PollClock::install(&mut builder);
        let runtime = builder.build().expect("a runtime");
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            let bound = Switch::bind(&[link]).await.expect("a free port");
            let address = bound.addresses()[0].1;
            let _switch = bound.start(Rc::new(Opened(opened)), clock).expect("started");
            tell.send(address).expect("the test waits");
            std::future::pending::<()>().await;
        });
    });
    let patience = Duration::from_secs(20);
    let address = told.recv_timeout(patience).expect("the switch starts");

    let peer = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(128), ..limit }).expect("a lower limit");
    let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!taken.is_empty(), "the limit is lower than what is open");
    peer.connect(&address.into()).expect("the backlog takes it");
    assert!(was_opened.recv_timeout(Duration::from_millis(600)).is_err(), "there was a descriptor left");

    taken.clear();
    was_opened.recv_timeout(patience).expect("accepted once a descriptor is free");
    let mut stream = TcpStream::from(peer);
    stream.set_read_timeout(Some(patience)).expect("a read timeout");
    stream.write_all(&[0xff, 0xff]).expect("written");
    assert_eq!(stream.read(&mut [0]).expect("closed, framing lost"), 0);
}
