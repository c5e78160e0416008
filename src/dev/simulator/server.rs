//! The listener and its connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::answer::{Answer, ReplyBody};
use super::request::Request;
use super::turn::{self, Ending, Shared};

/// Nothing a client may say to an authorization server comes near this.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// After a failed `accept` (mostly: too many open files) others may close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Accepts until the simulator stops; every connection is a task of `tracker`.
pub async fn accept(listener: TcpListener, shared: Arc<Shared>, tracker: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Small answers should not wait for company.
                let _ = stream.set_nodelay(true);
                tracker.spawn(connection(stream, Arc::clone(&shared)));
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let reset = Arc::new(AtomicBool::new(false));
    let service = {
        let (shared, reset) = (Arc::clone(&shared), Arc::clone(&reset));
        service_fn(move |request| Box::pin(respond(Arc::clone(&shared), Arc::clone(&reset), request)))
    };
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // An error is a client that left, or a connection we broke on purpose.
        _ = std::future::poll_fn(|context| connection.poll_without_shutdown(context)) => {}
        () = shared.stop.cancelled() => {}
    }
    if reset.load(Ordering::Relaxed) {
        // Closing with zero linger sends RST in place of FIN.
        let _ = connection.into_parts().io.into_inner().set_zero_linger();
    }
}

/// An error tells hyper to close the connection without an answer.
async fn respond(
    shared: Arc<Shared>,
    reset: Arc<AtomicBool>,
    request: http::Request<Incoming>,
) -> Result<Response<ReplyBody>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body: Bytes = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return Ok(Answer::text(413, "Too large, or broken off.").respond()),
    };
    let request = Request::new(parts, body);
    match turn::take(&shared, &request).await {
        Ending::Reply(response) => Ok(response),
        Ending::Drop => Err(std::io::Error::other("dropped on purpose")),
        Ending::Reset => {
            reset.store(true, Ordering::Relaxed);
            Err(std::io::Error::other("reset on purpose"))
        }
    }
}
