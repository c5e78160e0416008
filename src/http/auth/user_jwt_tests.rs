//! Attacks on JWTs.
