//! Threads that serve connections and do nothing else.
//!
//! Most hand-outs are answered where their request is read ([`super::edge`]). On the runtime of the actors each of them would
//! cost waking a thread and looking for work elsewhere; here a connection stays where it was put, and refreshes by the
//! thousand stand in nobody's way. What an answer has to wait for is left to the runtime of whoever serves.

use std::{io, sync::Arc, thread};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The threads; they end, and what they still serve with them, when this is dropped.
pub(super) struct ServingThreads {
    threads: Vec<ServingThread>,
    _stop: DropGuard,
}

struct ServingThread {
    runtime: Handle,
    /// Held by each of its connections.
    place: Place,
}

/// A connection's place on its thread.
pub(super) type Place = Arc<()>;

impl ServingThreads {
    /// At least one. Where the system gives no more threads, the caller's runtime serves in their stead.
    pub(super) fn start(count: usize) -> Self {
        let stop = CancellationToken::new();
        let runtimes = (0..count.max(1)).map(|index| {
            start_one(index, stop.clone()).unwrap_or_else(|error| {
                tracing::warn!(%error, "a thread for connections cannot be started; serving without it");
                Handle::current()
            })
        });
        Self {
            threads: runtimes
                .map(|runtime| ServingThread {
                    runtime,
                    place: Place::default(),
                })
                .collect(),
            _stop: stop.drop_guard(),
        }
    }

    /// The thread with the fewest connections, and a place there.
    pub(super) fn least_busy(&self) -> (Handle, Place) {
        let busy = |thread: &&ServingThread| Arc::strong_count(&thread.place);
        self.threads.iter().min_by_key(busy).map_or_else(
            || (Handle::current(), Place::default()),
            |thread| (thread.runtime.clone(), Arc::clone(&thread.place)),
        )
    }
}

fn start_one(index: usize, stop: CancellationToken) -> io::Result<Handle> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name(format!("http-{index}"))
        .spawn(move || runtime.block_on(stop.cancelled_owned()))?;
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_go_where_the_fewest_are() {
        let threads = ServingThreads::start(3);
        let places: Vec<_> = (0..6).map(|_| threads.least_busy()).collect();
        let on = |index: usize| Arc::strong_count(&threads.threads[index].place) - 1;
        assert_eq!((on(0), on(1), on(2)), (2, 2, 2));
        let (_, freed) = places.into_iter().nth(4).unwrap();
        let (_, next) = threads.least_busy();
        drop(freed);
        assert_eq!((on(0), on(1), on(2)), (1, 0, 0));
        drop(next);
    }

    #[tokio::test]
    async fn what_they_serve_ends_with_them() {
        let threads = ServingThreads::start(1);
        let (thread, _place) = threads.least_busy();
        let served = thread.spawn(std::future::pending::<()>());
        drop(threads);
        assert!(served.await.unwrap_err().is_cancelled());
    }
}
