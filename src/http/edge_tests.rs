//! The edge in front of a few routes of its own.
