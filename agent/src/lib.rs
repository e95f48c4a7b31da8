//! The agent: what runs on a host, seen without touching it.

pub mod l7;
