//! Measurements of the built program, from a process apart: `cargo xtask bench`.
//!
//! Every figure in README comes from here.

#![expect(clippy::print_stdout, reason = "it prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "it measures by the wall clock")]

mod calm;
mod demo;
mod detect;
mod ingest;
mod investigate;
mod pages;
mod review;
mod serve;
mod templates;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask bench ingest [--seconds N] [--connections N] [--kill]
       cargo xtask bench investigate [--spans N] [--minutes N]
       cargo xtask bench calm [--minutes N]
       cargo xtask bench detect
       cargo xtask bench pages
       cargo xtask bench review
       cargo xtask bench serve
       cargo xtask bench templates
       cargo xtask bench demo [--runs N]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else { bail!("{USAGE}") };
    let flags = Flags(rest);
    match name.as_str() {
        "ingest" => {
            flags.check(&["--seconds", "--connections"], &["--kill"])?;
            let options = ingest::Options {
                seconds: flags.number("--seconds")?.unwrap_or(60),
                connections: flags.number("--connections")?.unwrap_or(16),
                kill: flags.has("--kill"),
            };
            ingest::run(&options).await
        }
        "investigate" => {
            flags.check(&["--spans", "--minutes"], &[])?;
            let spans = flags.number("--spans")?.unwrap_or(investigate::SPANS);
            investigate::run(spans, flags.number("--minutes")?.unwrap_or(60)).await
        }
        "calm" => {
            flags.check(&["--minutes"], &[])?;
            calm::run(flags.number("--minutes")?.unwrap_or(30)).await
        }
        "detect" => {
            flags.check(&[], &[])?;
            detect::run().await
        }
        "pages" => {
            flags.check(&[], &[])?;
            pages::run().await
        }
        "review" => {
            flags.check(&[], &[])?;
            review::run().await
        }
        "serve" => {
            flags.check(&[], &[])?;
            serve::run().await
        }
        "templates" => {
            flags.check(&[], &[])?;
            templates::run().await
        }
        "demo" => {
            flags.check(&["--runs"], &[])?;
            demo::run(flags.number("--runs")?.unwrap_or(1)).await
        }
        other => bail!("no measurement {other:?}\n{USAGE}"),
    }
}

/// The arguments after the name of the measurement.
struct Flags<'a>(&'a [String]);

impl Flags<'_> {
    fn check(&self, with_value: &[&str], alone: &[&str]) -> Result<()> {
        let mut arguments = self.0.iter();
        while let Some(argument) = arguments.next() {
            if with_value.contains(&argument.as_str()) {
                arguments.next();
            } else if !alone.contains(&argument.as_str()) {
                bail!("unknown argument {argument:?}\n{USAGE}");
            }
        }
        Ok(())
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|argument| argument == name)
    }

    fn number(&self, name: &str) -> Result<Option<u64>> {
        let Some(at) = self.0.iter().position(|argument| argument == name) else { return Ok(None) };
        let value = self.0.get(at + 1).with_context(|| format!("{name} takes a number"))?;
        Ok(Some(value.parse().with_context(|| format!("{name} takes a number, not {value:?}"))?))
    }
}

/// Bytes as people read them.
fn mebibytes(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The middle of the values; of two middle ones the lower. Not a number when there are none: nothing was measured, and not zero.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
