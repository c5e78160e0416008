//! A connection that watches its client: one that dribbles its headers or does not take its answer is dropped.
//!
//! hyper has one timer for headers and for idleness together, and sets it anew for each request. Here the time for
//! headers counts from the first byte of a request (or from connecting) until hyper hands the request over, the idle time
//! from an answer to the next request; one timer serves both, and is touched only when it rings or would ring too late.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

/// Told by the service when a request's headers are complete and when it has been answered.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress(Arc<Steps>);

#[derive(Debug, Default)]
struct Steps {
    /// A request has come since the stream looked. Many are answered before it looks again.
    came: AtomicBool,
    answering: AtomicBool,
}

impl Progress {
    /// A request is complete enough to be answered: no header is awaited.
    pub(super) fn request_came(&self) {
        self.0.came.store(true, Ordering::Relaxed);
        self.0.answering.store(true, Ordering::Relaxed);
    }

    /// It was answered: the next byte begins another.
    pub(super) fn answered(&self) {
        self.0.answering.store(false, Ordering::Relaxed);
    }

    /// Whether a request has come since this was asked last.
    fn has_request_come(&self) -> bool {
        self.0.came.load(Ordering::Relaxed) && self.0.came.swap(false, Ordering::Relaxed)
    }

    fn is_answering(&self) -> bool {
        self.0.answering.load(Ordering::Relaxed)
    }
}

/// What the client owes us, when we are not answering it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// Its next request.
    Request,
    /// The rest of a request's headers.
    Headers,
}

/// The stream, watched.
pub(super) struct WatchedStream {
    stream: TcpStream,
    progress: Progress,
    header_timeout: Duration,
    idle_timeout: Duration,
    awaited: Awaited,
    /// Until when; unset while there is something to read.
    deadline: Option<Instant>,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl WatchedStream {
    pub(super) fn new(
        stream: TcpStream,
        progress: Progress,
        header_timeout: Duration,
        idle_timeout: Duration,
    ) -> Self {
        Self {
            stream,
            progress,
            header_timeout,
            idle_timeout,
            awaited: Awaited::Headers,
            deadline: None,
            read_timer: None,
            write_timer: None,
        }
    }

    /// While there is nothing to read: an error once the client is too late.
    fn watch_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let timeout = match self.awaited {
            Awaited::Headers => self.header_timeout,
            Awaited::Request => self.idle_timeout,
        };
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + timeout);
        let timer = self
            .read_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        ready!(timer.as_mut().poll(cx));
        if timer.deadline() < deadline {
            // It was set for something that has come since.
            timer.as_mut().reset(deadline);
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// While a write waits for the client.
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let timeout = self.idle_timeout;
        let timer = self
            .write_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for WatchedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if this.progress.has_request_come() || this.progress.is_answering() {
            (this.awaited, this.deadline) = (Awaited::Request, None);
        }
        if this.progress.is_answering() {
            return read;
        }
        if read.is_pending() {
            return this.watch_read(cx);
        }
        if this.awaited == Awaited::Request {
            (this.awaited, this.deadline) = (Awaited::Headers, None);
        }
        read
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.watch_write(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.watch_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
