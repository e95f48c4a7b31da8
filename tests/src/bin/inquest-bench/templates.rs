//! How fast log messages are templated: the public logs repeated to a million lines with other numbers, beside Python's
//! `drain3` on the same file.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use system_tests::program;

use crate::{mebibytes, median};

const LINES: usize = 1_000_000;
const RUNS: usize = 5;
/// The version of `drain3` that is compared with.
const DRAIN3: &str = "drain3==0.9.11";
/// Its defaults, without profiling and without keeping its state: the fastest it can be used.
const DRAIN3_PROGRAM: &str = "
import sys, time
from drain3 import TemplateMiner
from drain3.template_miner_config import TemplateMinerConfig
config = TemplateMinerConfig()
config.profiling_enabled = False
miner = TemplateMiner(config=config)
lines = [line.rstrip('\\n') for line in open(sys.argv[1], encoding='utf-8')]
began = time.perf_counter()
for line in lines:
    miner.add_log_message(line)
print(len(lines) / (time.perf_counter() - began))
";

/// Measures `inquest logs templates --csv`, from start to end, and `drain3` without its start.
pub async fn run() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("million.log");
    let bytes = write_log(&log).context("failed to write the log")?;
    println!("log               {LINES} lines, {}", mebibytes(bytes));
    let (mut rates, mut peak) = (Vec::new(), 0);
    for run in 1..=RUNS {
        let (seconds, bytes) = time(&log, folder.path()).await?;
        println!("run {run}             {:.0} lines/s", LINES as f64 / seconds);
        rates.push(LINES as f64 / seconds);
        peak = peak.max(bytes);
    }
    let ours = median(rates);
    println!("median            {ours:.0} lines/s");
    println!("resident          {} at most", mebibytes(peak));
    match drain3(&log) {
        Ok(theirs) => {
            println!("drain3            {theirs:.0} lines/s");
            println!("ratio             {:.1}", ours / theirs);
        }
        Err(error) => println!("drain3            not measured: {error:#}"),
    }
    Ok(())
}

/// Repeats the public logs with every digit changed by a generator of Lehmer's.
fn write_log(path: &Path) -> Result<u64> {
    let data = std::env::var_os("INQUEST_SHARED_DATA")
        .map_or_else(|| "../shared/data".into(), std::path::PathBuf::from);
    let messages: Vec<String> = eval::log_templates::read(&data.join("logs"))?
        .into_iter()
        .flat_map(|log| log.messages)
        .map(|message| message.replace('\n', " "))
        .collect();
    ensure!(!messages.is_empty(), "no logs in {}", data.display());
    let mut out = BufWriter::new(File::create(path)?);
    let (mut state, mut line, mut bytes) = (1_u64, String::new(), 0);
    for message in messages.iter().cycle().take(LINES) {
        line.clear();
        for character in message.chars() {
            if character.is_ascii_digit() {
                state = state * 48_271 % 0x7fff_ffff;
                write!(line, "{}", state % 10)?;
            } else {
                line.push(character);
            }
        }
        line.push('\n');
        out.write_all(line.as_bytes())?;
        bytes += line.len() as u64;
    }
    out.flush()?;
    Ok(bytes)
}

/// Seconds and peak of resident bytes.
async fn time(log: &Path, folder: &Path) -> Result<(f64, u64)> {
    let out = File::create(folder.join("templates.csv"))?;
    let began = Instant::now();
    let mut child = Command::new(program::binary()?)
        .args(["logs", "templates", "--csv"])
        .arg(log)
        .stdin(Stdio::null())
        .stdout(out)
        .spawn()?;
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Ok(usage) = program::usage(child.id()) {
            peak = peak.max(usage.peak_bytes);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    ensure!(status.success(), "logs templates failed: {status}");
    Ok((began.elapsed().as_secs_f64(), peak))
}

/// Lines per second, in an environment of its own that is kept beside the built programs.
fn drain3(log: &Path) -> Result<f64> {
    let program = std::env::current_exe()?;
    let folder = program.parent().context("no folder")?.join("drain3");
    let python = folder.join("bin/python");
    if !python.exists() {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
        succeed(Command::new(&python).args(["-m", "pip", "install", "--quiet", DRAIN3]))?;
    }
    let printed = succeed(Command::new(&python).args(["-c", DRAIN3_PROGRAM]).arg(log))?;
    printed.trim().parse().with_context(|| format!("it printed {printed:?}"))
}

fn succeed(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("failed to start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
