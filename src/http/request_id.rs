//! The id of a request: in its answer, in logs, errors and the audit.

use std::{
    cell::Cell,
    fmt,
    ops::Deref,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{HeaderName, HeaderValue};
use oauth_manager_actors::domain::Timestamp;
use uuid::Uuid;

/// Carries it in both directions.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id accepted from a caller.
const CHARS_MAX: usize = 64;
/// How many ids a thread takes at once, so that threads do not all count in one place.
const BLOCK: u64 = 1024;

/// Letters, digits, dots, dashes and underscores: 1 to 64 of them.
#[derive(Clone, Copy)]
pub(crate) struct RequestId {
    text: [u8; CHARS_MAX],
    len: usize,
}

impl RequestId {
    /// The caller's own, if it is safe to repeat.
    pub(crate) fn given(value: &HeaderValue) -> Option<Self> {
        let safe = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let given = value.as_bytes();
        let is_safe = !given.is_empty() && given.len() <= CHARS_MAX && given.iter().all(safe);
        is_safe.then(|| {
            let mut text = [0; CHARS_MAX];
            text[..given.len()].copy_from_slice(given);
            Self {
                text,
                len: given.len(),
            }
        })
    }

    /// A UUIDv7 whose random part is this process's own number and a count: unique, nearly in order, and without asking
    /// the operating system for randomness at every request. Nothing rests on its being unguessable.
    pub(crate) fn new(now: Timestamp) -> Self {
        static PROCESS: LazyLock<u64> = LazyLock::new(|| Uuid::new_v4().as_u64_pair().0);
        let mut random = [0; 10];
        // The count last, where neither version nor variant is written over it.
        let (process, count) = random.split_at_mut(5);
        count.copy_from_slice(&next_count().to_be_bytes()[3..]);
        process.copy_from_slice(&PROCESS.to_be_bytes()[3..]);
        let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let id = uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid();
        let mut text = [0; CHARS_MAX];
        let len = id.hyphenated().encode_lower(&mut text).len();
        Self { text, len }
    }

    /// As a header's value.
    pub(crate) fn to_header(self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.text[..self.len]).ok()
    }
}

fn next_count() -> u64 {
    static BLOCKS: AtomicU64 = AtomicU64::new(0);
    thread_local! {
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }
    NEXT.with(|next| {
        let mut count = next.get();
        if count.is_multiple_of(BLOCK) {
            count = BLOCKS.fetch_add(1, Ordering::Relaxed) * BLOCK;
        }
        next.set(count + 1);
        count
    })
}

impl Deref for RequestId {
    type Target = str;

    fn deref(&self) -> &str {
        // Only ASCII is ever put in.
        std::str::from_utf8(&self.text[..self.len]).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_unique_on_all_threads() {
        let now: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
        let of_thread = || {
            (0..3 * BLOCK)
                .map(|_| RequestId::new(now).to_string())
                .collect::<Vec<_>>()
        };
        let ids: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(of_thread)).collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert!(ids.iter().all(|id| Uuid::parse_str(id).is_ok()));
    }
}
