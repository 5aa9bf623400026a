//! Handshakes, on a thread of their own: a signature costs as much as hundreds of taps.
//!
//! The shard's thread gives a connected socket away and gets it back with an open session. The certificates
//! live here. This thread must never read a frame.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};

use super::session::Taken;
use super::{Certificates, Session};

/// The handshakes of all links; cheap to clone. The thread ends with the last clone.
#[derive(Debug, Clone)]
pub struct Handshakes {
    jobs: mpsc::UnboundedSender<Job>,
}

enum Job {
    Shake { given: Given, done: oneshot::Sender<io::Result<Back>> },
    Refresh,
}

/// A connection without its session.
pub(in crate::switch) struct Shake {
    /// Index of its link.
    pub(in crate::switch) link: usize,
    pub(in crate::switch) socket: TcpStream,
    /// From when what the socket holds already can have been waiting.
    pub(in crate::switch) since: Instant,
    /// How long the peer may take.
    pub(in crate::switch) at_most: Duration,
}

/// A connection with its session.
pub(in crate::switch) struct Shaken {
    pub(in crate::switch) socket: TcpStream,
    pub(in crate::switch) session: Session,
    /// From when what came in the session, or is in the socket now, can have been waiting.
    pub(in crate::switch) since: Instant,
    /// Plaintext that came with the end of the handshake.
    pub(in crate::switch) early: BytesMut,
}

/// What goes to the thread: a socket that no runtime watches.
struct Given {
    link: usize,
    socket: std::net::TcpStream,
    since: Instant,
    at_most: Duration,
}

/// What comes back from it.
struct Back {
    socket: std::net::TcpStream,
    session: Session,
    since: Instant,
    early: BytesMut,
}

impl Handshakes {
    /// Starts the thread with the certificates of the links that have some, by the links' indices.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(in crate::switch) fn start(certificates: Vec<Option<Certificates>>) -> io::Result<Self> {
        let (jobs, inbox) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("links-tls".to_owned()).spawn(move || {
            // Born of the shard's thread, with its priority.
            crate::priority::usual();
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, serve(inbox, certificates));
        })?;
        Ok(Self { jobs })
    }

    /// Looks now whether certificate files changed; otherwise every handshake does.
    pub fn refresh(&self) {
        let _ = self.jobs.send(Job::Refresh);
    }

    /// One handshake; the socket comes back watched by the caller's runtime.
    ///
    /// # Errors
    /// A [`rustls::Error`] inside: the peer was refused, or refuses us. Others: the connection failed, or the
    /// time passed.
    pub(in crate::switch) async fn shake(&self, shake: Shake) -> io::Result<Shaken> {
        let gone = || io::Error::other("the handshakes' thread ended");
        let Shake { link, socket, since, at_most } = shake;
        let given = Given { link, socket: socket.into_std()?, since, at_most };
        let (done, outcome) = oneshot::channel();
        self.jobs.send(Job::Shake { given, done }).map_err(|_| gone())?;
        let Back { socket, session, since, early } = outcome.await.map_err(|_| gone())??;
        Ok(Shaken { socket: TcpStream::from_std(socket)?, session, since, early })
    }
}

async fn serve(mut inbox: mpsc::UnboundedReceiver<Job>, certificates: Vec<Option<Certificates>>) {
    let certificates: Rc<Vec<_>> = Rc::new(certificates.into_iter().map(|link| link.map(RefCell::new)).collect());
    while let Some(job) = inbox.recv().await {
        match job {
            Job::Refresh => certificates.iter().flatten().for_each(|link| link.borrow_mut().refresh()),
            Job::Shake { given, mut done } => {
                let certificates = Rc::clone(&certificates);
                tokio::task::spawn_local(async move {
                    let Some(certificates) = certificates.get(given.link).and_then(Option::as_ref) else { return };
                    // Whoever asked may be gone: at a drain nobody waits for peers that come in.
                    tokio::select! {
                        shaken = shake(given, certificates) => drop(done.send(shaken)),
                        () = done.closed() => {}
                    }
                });
            }
        }
    }
}

async fn shake(given: Given, certificates: &RefCell<Certificates>) -> io::Result<Back> {
    let Given { socket, mut since, at_most, .. } = given;
    let session = {
        let mut certificates = certificates.borrow_mut();
        certificates.refresh();
        certificates.session()
    };
    let mut session = Session::new(session.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?);
    let mut early = BytesMut::new();
    let socket = TcpStream::from_std(socket)?;
    let talk = talk(&socket, &mut session, &mut since, &mut early);
    tokio::time::timeout(at_most, talk).await.map_err(|_| too_slow(at_most))??;
    Ok(Back { socket: socket.into_std()?, session, since, early })
}

/// Sends and takes until the session is open. `since` moves to when the socket was last seen empty.
async fn talk(socket: &TcpStream, session: &mut Session, since: &mut Instant, early: &mut BytesMut) -> io::Result<()> {
    loop {
        while !session.send(socket)? {
            socket.writable().await?;
        }
        if !session.is_handshaking() {
            return Ok(());
        }
        match session.read(socket, early) {
            Ok(Taken::Some(_)) => {}
            Ok(Taken::EndOfStream) => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer closed in the middle of it"));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                *since = Instant::now();
                socket.readable().await?;
            }
            Err(error) => return Err(error),
        }
    }
}

fn too_slow(at_most: Duration) -> io::Error {
    let at_most = humantime::format_duration(at_most);
    io::Error::new(io::ErrorKind::TimedOut, format!("not done within {at_most} (frame_timeout)"))
}
