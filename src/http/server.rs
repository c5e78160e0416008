//! The accept loop: HTTP/1.1 only, bounded in connections and in everything a slow client could hold on to.
//!
//! warp's own server has no read timeouts and its graceful stop waits without limit, so connections are served here,
//! through hyper. Stopping: no new connections, idle ones closed, answers under way finished, and after the grace
//! whoever is left is dropped.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use http::Request;
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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
    let connections = TaskTracker::new();
    let dropped = CancellationToken::new();
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    let accepting = accept(
        &listener,
        &service,
        &limits,
        &connections,
        &permits,
        &stop,
        &dropped,
    );
    tokio::select! {
        () = stop.cancelled() => {}
        () = accepting => {}
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.stop_grace, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "dropping connections that did not finish in time"
        );
        dropped.cancel();
        connections.wait().await;
    }
}

async fn accept(
    listener: &TcpListener,
    service: &HttpService,
    limits: &Limits,
    connections: &TaskTracker,
    permits: &Arc<Semaphore>,
    stop: &CancellationToken,
    dropped: &CancellationToken,
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
        let dropped = dropped.clone();
        connections.spawn(async move {
            tokio::select! {
                () = serving => {}
                () = dropped.cancelled() => {}
            }
            drop(permit);
        });
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
        let (edge, progress) = (Arc::clone(&edge), progress.clone());
        progress.request_came();
        async move {
            let request = request.map(BodyExt::boxed);
            let response = edge.answer(peer.ip(), request).await;
            progress.answered();
            Ok::<_, Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.idle_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stop.cancelled() => {
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
