//! `cargo run --release -p eval --example score -- DIR...`: scores recorded incidents, as `inquest eval run` does.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a command of its own: it prints and measures"
)]

use std::path::PathBuf;
use std::time::Instant;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let began = Instant::now();
    let mut dirs = Vec::new();
    for root in std::env::args().skip(1).map(PathBuf::from) {
        dirs.extend(eval::cases_below(&root)?);
    }
    let run = eval::run(&dirs, 2, || began.elapsed(), |_| {}).await;
    print!("{}", eval::table::cases(&run.outcomes));
    println!("{}", run.failures.join("\n"));
    print!("{}", eval::table::summary(&eval::Summary::new(&run.outcomes)));
    println!("{:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}
