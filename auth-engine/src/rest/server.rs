//! The sidecar's threads and connections: a runtime of its own, of low priority, and bounds on what a peer may cost.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{App, Sidecar, router};

/// Threads; the taps keep the rest.
const WORKERS: usize = 2;
/// Threads for journal and view reads, which may block.
const BLOCKING: usize = 8;
/// Open connections; the next one waits in the kernel.
const MAX_CONNECTIONS: usize = 1024;
/// Longest time for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest head.
const MAX_HEAD: usize = 32 * 1024;
/// Most streams of one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// How long open requests are waited for at the end.
const DRAIN: Duration = Duration::from_secs(5);
/// The pause after the kernel had no file descriptor for a connection: nothing tells when it has one again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` is cancelled and open requests are answered. The listener is bound already, so that an
/// address in use is told before the engine starts. API keys are read from the book before the first connection is
/// accepted.
///
/// # Errors
/// When the threads cannot be started or the listener cannot be used.
pub fn serve(app: App, listener: TcpListener, shutdown: CancellationToken) -> io::Result<JoinHandle<()>> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING)
        .thread_name("rest")
        .on_thread_start(crate::priority::low)
        .enable_all()
        .build()?;
    let guard = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener)?;
    drop(guard);
    std::thread::Builder::new().name("rest-main".to_owned()).spawn(move || {
        crate::priority::low();
        runtime.block_on(run(app, listener, shutdown));
        runtime.shutdown_timeout(Duration::from_secs(1));
    })
}

async fn run(app: App, listener: tokio::net::TcpListener, shutdown: CancellationToken) {
    let sidecar = Sidecar::new(app);
    let loading = sidecar.clone();
    let loaded = sidecar.app.shard.query(move |book, _| loading.keys.load(book)).await;
    if let Err(error) = loaded {
        tracing::error!("REST does not serve: the API keys could not be read: {error}");
        return;
    }
    let router = router(&sidecar);
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let protocol = protocol();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = next(&listener, &connections) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let router = router.clone();
                let service = service_fn(move |request: Request<Incoming>| {
                    let router = router.clone();
                    async move {
                        let answered = router.oneshot(request.map(Body::new)).await;
                        Ok::<_, Infallible>(answered.unwrap_or_else(|never| match never {}))
                    }
                });
                let connection = protocol.serve_connection(TokioIo::new(stream), service).into_owned();
                let connection = graceful.watch(connection);
                tokio::spawn(async move {
                    // A peer that hangs up or sends no HTTP is no fault of ours and nothing to log.
                    drop(connection.await);
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!("REST could not accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("REST ended with requests unanswered");
    }
}

type Accepted = (tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit);

async fn next(listener: &tokio::net::TcpListener, connections: &Arc<Semaphore>) -> io::Result<Accepted> {
    let permit = Arc::clone(connections).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(HEAD_TIMEOUT));
    builder
}
