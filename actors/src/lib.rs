//! The actor system of the OAuth Manager.
