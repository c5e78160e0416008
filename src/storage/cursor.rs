//! Page cursors: where a list goes on, opaque to its reader. A cursor holds the place after the last item shown (time in
//! microseconds, as the database keeps it, and id), so that pages neither repeat nor miss a row when others are added.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        Timestamp,
        page::{PAGE_LIMIT_MAX, Page, PageRequest},
    },
    ports::store::{StoreError, StoreResult},
};

/// A place in a list that is ordered by time and id, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) at: Timestamp,
    pub(super) id: Uuid,
}

impl Cursor {
    /// The place a page begins after; before everything, if the request names none.
    pub(super) fn of(request: &PageRequest) -> StoreResult<Self> {
        request.after.as_deref().map_or(
            Ok(Self {
                at: Timestamp::MAX,
                id: Uuid::max(),
            }),
            Self::decode,
        )
    }

    pub(super) fn encode(self) -> String {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.at.as_microsecond().to_be_bytes());
        bytes[8..].copy_from_slice(self.id.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub(super) fn decode(text: &str) -> StoreResult<Self> {
        let bytes = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|_| StoreError::InvalidCursor)?;
        let (at, id) = bytes.split_first_chunk::<8>().ok_or(StoreError::InvalidCursor)?;
        let at = Timestamp::from_microsecond(i64::from_be_bytes(*at))
            .ok()
            // None of ours is older, and the database's calendar begins later than this type's.
            .filter(|at| *at >= Timestamp::UNIX_EPOCH)
            .ok_or(StoreError::InvalidCursor)?;
        Ok(Self {
            at,
            id: Uuid::from_slice(id).map_err(|_| StoreError::InvalidCursor)?,
        })
    }
}

/// How many rows to ask for: one more than shown tells whether there is a next page.
pub(super) fn rows_wanted(request: &PageRequest) -> i64 {
    i64::from(request.limit.clamp(1, PAGE_LIMIT_MAX)) + 1
}

/// The page of these rows, of which there may be one more than it shows.
pub(super) fn page<T>(request: &PageRequest, mut items: Vec<T>, place: impl Fn(&T) -> Cursor) -> Page<T> {
    let shown = request.limit.clamp(1, PAGE_LIMIT_MAX) as usize;
    let more = items.len() > shown;
    items.truncate(shown);
    let next = items.last().filter(|_| more).map(|last| place(last).encode());
    Page { items, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips_and_others_are_refused() {
        let cursor = Cursor {
            at: Timestamp::from_microsecond(1_700_000_000_123_456).unwrap(),
            id: Uuid::from_u128(7),
        };
        assert_eq!(Cursor::decode(&cursor.encode()), Ok(cursor));
        for text in ["", "x", "!!", &"A".repeat(31), &"A".repeat(33), &"_".repeat(32)] {
            assert_eq!(Cursor::decode(text), Err(StoreError::InvalidCursor), "{text}");
        }
    }
}
