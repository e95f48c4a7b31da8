//! The kernel side, as the agent holds it: where this kernel keeps things, the programs attached, the events that they send.

mod btf;
mod event;
mod layout;
mod programs;
mod ring;
mod tracefs;

pub use btf::{Btf, BtfError};
pub use event::{Event, EventError};
pub use layout::{Layout, LayoutError};
pub use programs::{Feature, Programs, SAMPLES_PER_SECOND, State};
pub use ring::{Counters, Lost, Reader};
pub use tracefs::{has_trace_point, show_trace_points};
