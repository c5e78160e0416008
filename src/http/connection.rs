//! A connection that watches its client: one that dribbles its headers or does not take its answer is dropped.
//!
//! hyper has one timer for headers and for idleness together, and sets it anew for each request. Here the time for
//! headers counts from the first byte of a request (or from connecting) until hyper hands the request over, the idle time
//! from an answer to the next request; one timer serves both, and is touched only when it rings or would ring too late.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
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
#[derive(Debug, Clone)]
pub(crate) struct Progress(Arc<Steps>);

#[derive(Debug)]
struct Steps {
    /// A request has come since the stream looked. Many are answered before it looks again.
    came: AtomicBool,
    answering: AtomicBool,
    /// A request with a body has come: some of it may be left when the connection is closed.
    carried_body: AtomicBool,
    /// It closes when it is told to even where its client is not done.
    gives_way: AtomicBool,
    /// What the client owes, and since when: see [`Steps::waits`]. 0: nothing.
    waits: AtomicU64,
    began: Instant,
}

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WaitsFor {
    /// A request's headers.
    Head,
    /// The next request.
    Request,
    /// The rest of a body, or that the client takes its answer.
    Client,
}

/// What a connection waits for, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    pub(super) what: WaitsFor,
    pub(super) since: Instant,
}

/// The lowest bits of [`Steps::waits`].
const WAITS_FOR_BITS: u32 = 2;

impl Progress {
    /// Of a connection that began now, and of which nothing has come yet.
    pub(super) fn new(now: Instant) -> Self {
        let progress = Self(Arc::new(Steps {
            came: AtomicBool::new(false),
            answering: AtomicBool::new(false),
            carried_body: AtomicBool::new(false),
            gives_way: AtomicBool::new(false),
            waits: AtomicU64::new(0),
            began: now,
        }));
        progress.waits_for(WaitsFor::Head, now);
        progress
    }

    /// A request is complete enough to be answered: no header is awaited.
    pub(super) fn request_came(&self) {
        self.0.came.store(true, Ordering::Relaxed);
        self.0.answering.store(true, Ordering::Relaxed);
        self.awaits_nothing();
    }

    /// It was answered: the next byte begins another.
    pub(super) fn answered(&self) {
        self.0.answering.store(false, Ordering::Relaxed);
    }

    /// It has a body, and nobody may want it.
    pub(super) fn carries_body(&self) {
        self.0.carried_body.store(true, Ordering::Relaxed);
    }

    /// The rest of a body is awaited.
    pub(super) fn awaits_body(&self, now: Instant) {
        self.waits_for(WaitsFor::Client, now);
    }

    /// What was awaited has come.
    pub(super) fn awaits_nothing(&self) {
        self.0.waits.store(0, Ordering::Relaxed);
    }

    /// From now on this is awaited.
    pub(super) fn waits_for(&self, what: WaitsFor, now: Instant) {
        let since = now.saturating_duration_since(self.0.began).as_millis();
        let what = match what {
            WaitsFor::Head => 1,
            WaitsFor::Request => 2,
            WaitsFor::Client => 3,
        };
        // Milliseconds of some hundred million years fit.
        let waits = ((since as u64) << WAITS_FOR_BITS) | what;
        self.0.waits.store(waits, Ordering::Relaxed);
    }

    /// What is awaited of the client. `None`: nothing, it is we who work.
    pub(super) fn waits(&self) -> Option<Waits> {
        let waits = self.0.waits.load(Ordering::Relaxed);
        let what = match waits & ((1 << WAITS_FOR_BITS) - 1) {
            1 => WaitsFor::Head,
            2 => WaitsFor::Request,
            3 => WaitsFor::Client,
            _ => return None,
        };
        let since = self.0.began + Duration::from_millis(waits >> WAITS_FOR_BITS);
        Some(Waits { what, since })
    }

    /// The client is waited for no longer than until it is told to close.
    pub(super) fn give_way(&self) {
        self.0.gives_way.store(true, Ordering::Relaxed);
    }

    /// Whether it is to be dropped as it is: it was told so, and its client has not sent the rest of a request since.
    pub(super) fn is_given_up(&self) -> bool {
        self.0.gives_way.load(Ordering::Relaxed) && self.waits().is_some()
    }

    /// Whether a request has come since this was asked last.
    fn has_request_come(&self) -> bool {
        self.0.came.load(Ordering::Relaxed) && self.0.came.swap(false, Ordering::Relaxed)
    }

    fn is_answering(&self) -> bool {
        self.0.answering.load(Ordering::Relaxed)
    }

    fn has_carried_body(&self) -> bool {
        self.0.carried_body.load(Ordering::Relaxed)
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
    /// What the client may still send once we have said our last.
    leftover: Option<Leftover>,
}

/// A body that nobody wants, on its way.
struct Leftover {
    timer: Pin<Box<Sleep>>,
    bytes_left: usize,
}

/// How long the rest of an unwanted body is read and thrown away. Closing a connection with bytes of the client unread
/// resets it, and the client may never see why it was refused (RFC 9112 9.6).
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(1);
/// How much of it: as much as the largest body that can be configured.
const LEFTOVER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// At a time.
const LEFTOVER_CHUNK_BYTES: usize = 8 * 1024;

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
            leftover: None,
        }
    }

    /// While there is nothing to read: an error once the client is too late.
    fn watch_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let timeout = match self.awaited {
            Awaited::Headers => self.header_timeout,
            Awaited::Request => self.idle_timeout,
        };
        let deadline = match self.deadline {
            Some(deadline) => deadline,
            None => self.begin_to_wait(timeout),
        };
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

    fn begin_to_wait(&mut self, timeout: Duration) -> Instant {
        let now = Instant::now();
        self.progress.waits_for(self.awaited.into(), now);
        *self.deadline.insert(now + timeout)
    }

    /// While a write waits for the client.
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            if self.write_timer.take().is_some() {
                self.progress.awaits_nothing();
            }
            return written;
        }
        let (timeout, progress) = (self.idle_timeout, &self.progress);
        let timer = self.write_timer.get_or_insert_with(|| {
            progress.waits_for(WaitsFor::Client, Instant::now());
            Box::pin(tokio::time::sleep(timeout))
        });
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// After our last word: what the client is still sending is read, for a while.
    fn discard_leftover(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let leftover = self.leftover.get_or_insert_with(|| Leftover {
            timer: Box::pin(tokio::time::sleep(LEFTOVER_TIMEOUT)),
            bytes_left: LEFTOVER_BYTES_MAX,
        });
        if leftover.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let mut chunk = [MaybeUninit::uninit(); LEFTOVER_CHUNK_BYTES];
        while leftover.bytes_left > 0 {
            let mut buf = ReadBuf::uninit(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    leftover.bytes_left = leftover.bytes_left.saturating_sub(buf.filled().len());
                }
                // It has sent all, or is gone.
                Poll::Ready(Ok(()) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

impl From<Awaited> for WaitsFor {
    fn from(awaited: Awaited) -> Self {
        match awaited {
            Awaited::Headers => Self::Head,
            Awaited::Request => Self::Request,
        }
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
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        // hyper looked for more while the answer was made, and does not look again before something comes: the wait for the
        // next request begins here.
        let is_waiting = this.awaited == Awaited::Request && !this.progress.is_answering();
        if is_waiting
            && this.deadline.is_none()
            && let Poll::Ready(late) = this.watch_read(cx)
        {
            return Poll::Ready(late);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.leftover.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        if this.progress.has_carried_body() {
            ready!(this.discard_leftover(cx));
        }
        Poll::Ready(Ok(()))
    }
}
