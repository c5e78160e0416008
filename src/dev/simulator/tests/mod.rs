//! The simulator against plain HTTP clients.
