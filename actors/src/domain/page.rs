//! Lists come in pages: `{items, next}` with an opaque cursor.

use serde::Serialize;

/// Most items of one page.
pub const PAGE_LIMIT_MAX: u32 = 200;
/// Items of a page when the caller does not say.
pub const PAGE_LIMIT_DEFAULT: u32 = 50;

/// Which page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items, 1 to [`PAGE_LIMIT_MAX`].
    pub limit: u32,
    /// The `next` of the page before.
    pub after: Option<String>,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self {
            limit: PAGE_LIMIT_DEFAULT,
            after: None,
        }
    }
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Where the next page begins; `None`: this was the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// The same page of other items.
    pub fn map<U>(self, f: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(f).collect(),
            next: self.next,
        }
    }
}
