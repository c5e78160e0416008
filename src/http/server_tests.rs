//! Slow clients, real sockets.
