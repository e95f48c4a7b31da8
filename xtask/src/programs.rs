//! `cargo xtask programs`: servers and clients that system tests run and that Debian does not have.
//!
//! They go into a cache outside the clone, where the tests look for them; tests of programs that are not there are skipped. What
//! Debian has is its administrator's to install: the list is shown.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{node, step};

const DEBIAN: &str =
    "redis-server memcached postgresql mariadb-server rabbitmq-server nats-server iproute2 nftables";

pub fn run(arguments: &[String]) -> Result<()> {
    if !arguments.is_empty() {
        bail!("usage: cargo xtask programs");
    }
    let sources = step::root().join("tests/programs");
    let folder = node::cache()?.join("inquest/programs");
    for part in ["java", "python"] {
        // Versions that are no longer wanted would stand beside those that are.
        if folder.join(part).exists() {
            fs::remove_dir_all(folder.join(part))?;
        }
        fs::create_dir_all(folder.join(part))?;
    }
    let mut java = Command::new("mvn");
    java.args(["--quiet", "--batch-mode", "dependency:copy-dependencies", "--file"])
        .arg(sources.join("pom.xml"));
    java.arg(format!("-DoutputDirectory={}", folder.join("java").display()));
    step::run("Kafka and a server of documents, from Maven", &mut java)?;
    let mut python = Command::new("python3");
    python.args(["-m", "pip", "install", "--quiet", "--target"]).arg(folder.join("python"));
    python.arg("--requirement").arg(sources.join("requirements.txt"));
    step::run("client libraries, llama.cpp and the engine of Qdrant, from PyPI", &mut python)?;
    println!("the rest is Debian's: apt-get install {DEBIAN}");
    Ok(())
}
