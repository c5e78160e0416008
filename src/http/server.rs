//! The accept loop: HTTP/1.1 only, bounded in everything a slow client could hold on to; who may have how many connections
//! is [`super::bounds::open_connections`]'s word.
//!
//! warp's own server has no read timeouts and its graceful stop waits without limit, so connections are served here,
//! through hyper, each on one of the [`ServingThreads`]. Stopping: no new connections, idle ones closed, answers under way finished, and after the grace
//! whoever is left is dropped.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use futures_util::{FutureExt, StreamExt, future::Either, stream::FuturesUnordered};
use http::Request;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::Handle,
    task::JoinSet,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    HttpService,
    bounds::open_connections::{OpenConnection, OpenConnections},
    connection::WatchedStream,
    edge::{Client, Edge},
    serving_threads::ServingThreads,
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
    let threads = ServingThreads::start(limits.serving_threads);
    let mut connections = JoinSet::new();
    let open = service.open_connections();
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept(&listener, &service, &threads, &mut connections, &open, &stop) => {}
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
    threads: &ServingThreads,
    connections: &mut JoinSet<()>,
    open_connections: &Arc<OpenConnections>,
    stop: &CancellationToken,
) {
    let mut is_failing = false;
    loop {
        let accepted = listener.accept().await;
        // It is watched for by the thread that serves it.
        let accepted = accepted.and_then(|(stream, peer)| Ok((stream.into_std()?, peer)));
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if concerns_one_connection(&error) => continue,
            Err(error) => {
                // Most likely there are no descriptors left: what waits for its client gives its own back.
                let closed = open_connections.make_room();
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::error!(%error, closed, "connections cannot be accepted");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        is_failing = false;
        let Some(open) = open_connections.admit(peer.ip(), stop).await else {
            continue;
        };
        let connection = Connection {
            peer: peer.ip(),
            edge: service.edge(),
            limits: service.limits().clone(),
            answering: Handle::current(),
        };
        let (thread, place) = threads.least_busy();
        let serving = async move {
            let served = async { connection.serve(TcpStream::from_std(stream)?, &open).await };
            if let Err(error) = served.await {
                // Timeouts and clients that leave are everyday.
                tracing::debug!(error = &*error, "a connection ended early");
            }
            drop((open, place));
        };
        connections.spawn_on(serving, &thread);
        // What has ended is let go of.
        while connections.try_join_next().is_some() {}
    }
}

/// What a connection is served with.
struct Connection {
    peer: IpAddr,
    edge: Arc<Edge>,
    limits: Limits,
    /// Where answers come from that are not at hand.
    answering: Handle,
}

impl Connection {
    async fn serve(
        self,
        stream: TcpStream,
        open: &OpenConnection,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        // Small answers must not wait for more to come.
        let _ = stream.set_nodelay(true);
        let progress = open.progress.clone();
        let stream = WatchedStream::new(
            stream,
            progress.clone(),
            self.limits.header_timeout,
            self.limits.idle_timeout,
        );
        let service = service_fn(move |request: Request<Incoming>| {
            progress.request_came();
            if !request.body().is_end_stream() {
                progress.carries_body();
            }
            let client = Client {
                ip: self.peer,
                progress: Some(&progress),
            };
            match self.edge.answer(client, request) {
                Either::Left(at_hand) => {
                    progress.answered();
                    Either::Left(at_hand.map(Ok))
                }
                Either::Right(under_way) => {
                    let progress = progress.clone();
                    // A client that leaves takes its question with it.
                    let under_way = AbortOnDropHandle::new(self.answering.spawn(under_way));
                    Either::Right(under_way.inspect(move |_| progress.answered()))
                }
            }
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
        let mut closing = FuturesUnordered::from_iter([open.close.cancelled()]);
        tokio::select! {
            biased;
            ended = serving.as_mut() => ended?,
            _ = closing.next() => if !open.progress.is_given_up() {
                serving.as_mut().graceful_shutdown();
                serving.await?;
            },
        }
        Ok(())
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
