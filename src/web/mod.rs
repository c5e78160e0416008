//! Pages for users: plain HTML rendered here, no script, nothing loaded from elsewhere. Every word is for an end user.
//!
//! maud escapes whatever is not written in a template; the headers that go with a page are set by `http`'s edge.

pub(crate) mod choice;
pub(crate) mod connections;
pub(crate) mod disconnect;
pub(crate) mod error_page;
pub(crate) mod layout;
pub(crate) mod moving_on;
mod offers;
pub(crate) mod replacing;
pub(crate) mod result;
pub(crate) mod switches;
mod words;
