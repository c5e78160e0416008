//! The actor system of the OAuth Manager: knows no web, no SQL, no HTTP client.
#![warn(missing_docs)]

#[cfg(panic = "abort")]
compile_error!("supervision catches panics: build with panic = \"unwind\"");

pub mod domain;
pub mod handle;
pub mod ports;
