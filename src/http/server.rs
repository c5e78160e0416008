//! The accept loop: HTTP/1.1 only, bounded in connections and in everything a slow client could hold on to.
//!
//! warp's own server has no read timeouts and its graceful stop waits without limit, so connections are served here,
//! through hyper. Stopping: no new connections, idle ones closed, answers under way finished, and after the grace
//! whoever is left is dropped.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::Either, stream::FuturesUnordered};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    HttpService,
    connection::{Progress, WatchedStream},
    edge::Edge,
    settings::Limits,
};

/// Request line and headers together; more is 431.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header fields; more is 431.
const HEADERS_MAX: usize = 64;
/// When accepting fails for want of file descriptors, at once again would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `stop` is cancelled and the answers under way are finished (or the grace has passed).
pub async fn serve(listener: TcpListener, service: HttpService, stop: CancellationToken) {
    let limits = service.limits().clone();
    let mut connections = JoinSet::new();
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept(&listener, &service, &limits, &mut connections, &permits, &stop) => {}
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.stop_grace, finished).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            "dropping connections that did not finish in time"
        );
        connections.shutdown().await;
    }
}

async fn accept(
    listener: &TcpListener,
    service: &HttpService,
    limits: &Limits,
    connections: &mut JoinSet<()>,
    permits: &Arc<Semaphore>,
    stop: &CancellationToken,
) {
    // The semaphore is never closed: this ends with the task.
    while let Ok(permit) = Arc::clone(permits).acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if concerns_one_connection(&error) => continue,
            Err(error) => {
                tracing::error!(%error, "connections cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let serving = connection(stream, peer, service.edge(), limits.clone(), stop.clone());
        connections.spawn(async move {
            serving.await;
            drop(permit);
        });
        // What has ended is let go of.
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    edge: Arc<Edge>,
    limits: Limits,
    stop: CancellationToken,
) {
    // Small answers must not wait for more to come.
    let _ = stream.set_nodelay(true);
    let progress = Progress::default();
    let stream = WatchedStream::new(
        stream,
        progress.clone(),
        limits.header_timeout,
        limits.idle_timeout,
    );
    let service = service_fn(move |request: Request<Incoming>| {
        progress.request_came();
        let answering = edge.answer(peer.ip(), request);
        let under_way = match &answering {
            Either::Left(_) => {
                progress.answered();
                None
            }
            Either::Right(_) => Some(progress.clone()),
        };
        answering.map(move |response| {
            if let Some(progress) = under_way {
                progress.answered();
            }
            Ok::<_, Infallible>(response)
        })
    });
    let serving = http1::Builder::new()
        // The stream watches its client itself.
        .header_read_timeout(None)
        // Answers are small: copied together they cost less than a gathering write.
        .writev(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    // In a set of one, so that it is looked at when it happens and not at every byte that comes and goes.
    let mut stopped = FuturesUnordered::from_iter([stop.cancelled()]);
    let ended = tokio::select! {
        biased;
        ended = serving.as_mut() => ended,
        _ = stopped.next() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        // Timeouts and clients that leave are everyday.
        tracing::debug!(%error, "a connection ended early");
    }
}

fn concerns_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
