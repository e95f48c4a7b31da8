//! The `inquest-agent` program.

fn main() {}
