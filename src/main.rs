//! The command line of the OAuth Manager.

fn main() {}
