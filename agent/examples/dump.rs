//! Prints what the kernel side sends, for a few seconds: `dump 5`. For whoever works on the agent; needs root.
#![expect(clippy::print_stdout, reason = "it is made to print")]

use std::time::Duration;

use agent::kernel::{Event, Feature, Layout, Programs};
use anyhow::Context as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    use Feature::{Connections, OutOfMemory, Payloads, Processes, Resets, Retransmits};
    let seconds = std::env::args().nth(1).context("usage: dump SECONDS")?.parse()?;
    agent::kernel::show_trace_points()?;
    let layout = Layout::of_this_kernel()?;
    let wanted = [Processes, OutOfMemory, Connections, Retransmits, Resets, Payloads];
    let mut programs = Programs::attach(&layout, &wanted)?;
    println!("{:?}", programs.states());
    let mut reader = programs.reader()?;
    let counters = programs.counters()?;
    let until = tokio::time::Instant::now() + Duration::from_secs(seconds);
    while tokio::time::Instant::now() < until {
        reader.wait();
        reader.drain(|bytes| match Event::parse(bytes) {
            Ok(event) => println!("{event:?}"),
            Err(error) => println!("{error}"),
        });
    }
    println!("{:?}", counters.read());
    Ok(())
}
