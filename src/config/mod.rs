//! Configuration: one file per section.
