//! End-to-end tests against a real Postgres and the simulator over real sockets.
