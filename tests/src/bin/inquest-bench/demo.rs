//! How often the demo names what it broke: every fault, several times.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Result;
use system_tests::program;

/// Faults with the service and the mechanism that the answer must name, and whether a change is to blame.
const FAULTS: [&str; 5] = ["n-plus-one", "database-lock", "flag-error", "slow-dependency", "traffic-surge"];

/// Runs each fault `runs` times.
pub async fn run(runs: u64) -> Result<()> {
    for fault in FAULTS {
        for _ in 0..runs {
            let started = Instant::now();
            let output = Command::new(program::binary()?)
                .args(["demo", "--fault", fault, "--exit-after-answer"])
                .stdin(Stdio::null())
                .output()?;
            println!("{fault:<16} {} in {:.0} s", output.status, started.elapsed().as_secs_f64());
        }
    }
    Ok(())
}
