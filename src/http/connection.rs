//! A connection that watches its client: one that dribbles its headers or does not take its answer is dropped.
//!
//! hyper has one timer for headers and for idleness together. It is given the idle time; the time for headers counts
//! here, from the first byte of a request (or from connecting) until hyper hands the request over.

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
pub(super) struct Progress {
    answering: Arc<AtomicBool>,
}

impl Progress {
    /// A request is complete enough to be answered: no header is awaited.
    pub(super) fn request_came(&self) {
        self.answering.store(true, Ordering::Relaxed);
    }

    /// It was answered: the next byte begins another.
    pub(super) fn answered(&self) {
        self.answering.store(false, Ordering::Relaxed);
    }

    fn is_answering(&self) -> bool {
        self.answering.load(Ordering::Relaxed)
    }
}

/// The stream, watched.
pub(super) struct WatchedStream {
    stream: TcpStream,
    progress: Progress,
    header_timeout: Duration,
    write_timeout: Duration,
    /// Since when headers are awaited; `None`: between requests, or while one is answered.
    headers_since: Option<Instant>,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl WatchedStream {
    pub(super) fn new(
        stream: TcpStream,
        progress: Progress,
        header_timeout: Duration,
        write_timeout: Duration,
    ) -> Self {
        Self {
            stream,
            progress,
            header_timeout,
            write_timeout,
            headers_since: Some(Instant::now()),
            read_timer: None,
            write_timer: None,
        }
    }

    /// While a write waits for the client.
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_timer = None;
            return written;
        }
        let timeout = self.write_timeout;
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
        if this.progress.is_answering() {
            (this.headers_since, this.read_timer) = (None, None);
            return read;
        }
        if read.is_ready() {
            this.headers_since.get_or_insert_with(Instant::now);
            return read;
        }
        // Nothing to read. Between requests hyper's own idle timer counts.
        if let Some(since) = this.headers_since {
            let deadline = since + this.header_timeout;
            let timer = this
                .read_timer
                .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
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
