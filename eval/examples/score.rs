//! `cargo run --release -p eval --example score -- DIR...`: scores recorded incidents.
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
    let mut results = Vec::new();
    for root in std::env::args().skip(1).map(PathBuf::from) {
        for dir in eval::cases_below(&root)? {
            match eval::run_case(&dir, || began.elapsed()).await {
                Ok(result) => results.push(result),
                Err(error) => println!("{}: {error:#}", dir.display()),
            }
        }
    }
    println!("{}", eval::table::table(&results));
    Ok(())
}
