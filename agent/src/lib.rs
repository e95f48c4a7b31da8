//! The node agent: sees every service of a host without touching it, and ships what it sees as ordinary OTLP.
//!
//! The kernel side is `agent-bpf`; here its events become processes, connections, requests and profiles of named services.
//! Deliberately absent: any judgement of what it sees. Detection is the server's.

pub mod check;
pub mod clock;
pub mod edges;
pub mod export;
mod go_functions;
pub mod health;
pub mod host;
pub mod identity;
pub mod kernel;
pub mod l7;
pub mod logs;
pub mod manners;
pub mod observe;
pub mod privileges;
pub mod profile;
mod regular;
pub mod report;
pub mod run;
pub mod settings;
pub mod ship_logs;
pub mod spans;
pub mod surroundings;
pub mod tls;
pub mod traces;
