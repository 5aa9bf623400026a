//! Opening one connection to a partner: resolve, check the address, dial the checked address, TLS when
//! the URL says so, the HTTP handshake. It owns what a fresh connection is; it must never know asks,
//! queues or limits on connections: those are the pool's.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::address::{AddressPolicy, Target};
use super::answer::Unreachable;

/// A connection that takes longer than this to come about is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The first probe of an idle connection's peer.
const TCP_KEEPALIVE: Duration = Duration::from_secs(30);
/// Bounds what a partner's response head may make us buffer.
const MAX_BUFFER: usize = 32 * 1024;
const MAX_HEADERS: usize = 64;
const ALPN_H2: &[u8] = b"h2";
const ALPN_H1: &[u8] = b"http/1.1";

/// Finds the addresses of a host name and port. Called off the shard's thread, may block.
pub type Resolver = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// TLS as the system trusts it: the platform's root certificates, no client certificate.
pub fn system_roots() -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!(unusable, "no root certificate found: every https partner will be unreachable");
    }
    tls_builder().with_root_certificates(roots).with_no_client_auth()
}

fn tls_builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports the protocol versions rustls enables")
}

/// Everything needed to open a connection, shared by the pools of one thread.
pub(super) struct Dialer {
    policy: AddressPolicy,
    tls: Option<Arc<ClientConfig>>,
    resolver: Option<Resolver>,
}

/// The half of a connection that takes requests.
pub(super) enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

/// A connection ready for its first request.
pub(super) struct Connected {
    pub(super) sender: Sender,
    /// Moves the bytes; ends when the connection does.
    pub(super) driver: Pin<Box<dyn Future<Output = ()>>>,
    /// Bytes handed to the socket so far: proof that an ask was, or was not, begun.
    pub(super) written: Rc<Cell<u64>>,
    pub(super) probe: Probe,
}

/// A second handle on the socket, to look whether the peer has hung up although the runtime has not yet
/// polled the socket. Closed together with the connection.
pub(super) struct Probe(socket2::Socket);

/// What the kernel holds for a connection that nobody is reading an answer from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pending {
    /// Nothing at all.
    Nothing,
    /// Bytes. In clear text nobody asked for them; under TLS they may be session tickets, or a farewell.
    Bytes,
    /// The end of the stream, or an error.
    End,
}

impl Probe {
    pub(super) fn pending(&self) -> Pending {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match self.0.peek(&mut byte) {
            Ok(0) => Pending::End,
            Ok(_) => Pending::Bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Pending::Nothing,
            Err(_) => Pending::End,
        }
    }
}

impl Dialer {
    pub(super) fn new(policy: AddressPolicy, tls: Option<Arc<ClientConfig>>, resolver: Option<Resolver>) -> Self {
        let tls = tls.map(|given| {
            let mut config = (*given).clone();
            config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_H1.to_vec()];
            Arc::new(config)
        });
        Self { policy, tls, resolver }
    }

    pub(super) fn permits(&self, target: &Target) -> bool {
        self.policy.permits_target(target)
    }

    /// Opens one connection, within [`CONNECT_TIMEOUT`].
    pub(super) async fn dial(&self, target: &Target) -> Result<Connected, Unreachable> {
        timeout(CONNECT_TIMEOUT, self.dial_unbounded(target)).await.unwrap_or(Err(Unreachable::ConnectTimeout))
    }

    async fn dial_unbounded(&self, target: &Target) -> Result<Connected, Unreachable> {
        if !self.policy.permits_target(target) {
            return Err(Unreachable::AddressForbidden);
        }
        let addresses = self.resolve(target).await?;
        let stream = self.connect(&addresses).await?;
        let probe = socket2::SockRef::from(&stream).try_clone().map_err(|_| Unreachable::Refused)?;
        let probe = Probe(probe);
        let written = Rc::new(Cell::new(0));
        if !target.https {
            return handshake_h1(stream, written, probe).await;
        }
        let config = self.tls.clone().ok_or(Unreachable::Tls)?;
        let name = ServerName::try_from(target.host.clone()).map_err(|_| Unreachable::Tls)?;
        let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
            tracing::debug!(host = %target.host, %error, "TLS handshake with a partner failed");
            Unreachable::Tls
        })?;
        if stream.get_ref().1.alpn_protocol() == Some(ALPN_H2) {
            handshake_h2(stream, written, probe).await
        } else {
            handshake_h1(stream, written, probe).await
        }
    }

    async fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, Unreachable> {
        if let Some(ip) = target.literal() {
            return Ok(vec![SocketAddr::new(ip, target.port)]);
        }
        let (host, port, resolver) = (target.host.clone(), target.port, self.resolver.clone());
        let found = tokio::task::spawn_blocking(move || match resolver {
            Some(resolver) => resolver(&host, port),
            None => (host.as_str(), port).to_socket_addrs().map(Iterator::collect),
        })
        .await;
        match found {
            Ok(Ok(addresses)) if !addresses.is_empty() => Ok(addresses),
            Ok(Ok(_) | Err(_)) | Err(_) => Err(Unreachable::Dns),
        }
    }

    /// Dials the first of the addresses that is allowed and takes the connection. What was checked is what
    /// is dialled: the name is not looked up a second time.
    async fn connect(&self, addresses: &[SocketAddr]) -> Result<TcpStream, Unreachable> {
        let mut failure = Unreachable::AddressForbidden;
        for address in addresses.iter().filter(|address| self.policy.permits(address.ip())).take(4) {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let keepalive = socket2::TcpKeepalive::new().with_time(TCP_KEEPALIVE);
                    // Neither option is needed for a right answer, so a refusal of either is no failure.
                    let _ = stream.set_nodelay(true);
                    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
                    return Ok(stream);
                }
                Err(error) => {
                    tracing::debug!(%address, %error, "connecting to a partner failed");
                    failure = Unreachable::Refused;
                }
            }
        }
        Err(failure)
    }
}

async fn handshake_h1<S>(stream: S, written: Rc<Cell<u64>>, probe: Probe) -> Result<Connected, Unreachable>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let io = TokioIo::new(Counted { stream, written: written.clone() });
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_BUFFER)
        .max_headers(MAX_HEADERS)
        .handshake(io)
        .await
        .map_err(|_| Unreachable::Reset)?;
    let driver = Box::pin(async move {
        // How it ended is told to whoever waits for an answer on it; here it only matters that it did.
        let _ = connection.await;
    });
    Ok(Connected { sender: Sender::H1(sender), driver, written, probe })
}

async fn handshake_h2<S>(stream: S, written: Rc<Cell<u64>>, probe: Probe) -> Result<Connected, Unreachable>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let io = TokioIo::new(Counted { stream, written: written.clone() });
    let (sender, connection) = http2::Builder::new(LocalExecutor)
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .keep_alive_while_idle(true)
        .max_header_list_size(16 * 1024)
        .handshake(io)
        .await
        .map_err(|_| Unreachable::Reset)?;
    let driver = Box::pin(async move {
        let _ = connection.await;
    });
    Ok(Connected { sender: Sender::H2(sender), driver, written, probe })
}

/// Runs hyper's own tasks on the thread the pool lives on.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Counts the bytes that the stream below has taken.
struct Counted<S> {
    stream: S,
    written: Rc<Cell<u64>>,
}

impl<S> Counted<S> {
    fn count(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = result {
            self.written.set(self.written.get().saturating_add(bytes as u64));
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.count(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.count(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
