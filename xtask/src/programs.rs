//! `cargo xtask programs [--debian]`: servers and clients that system tests run.
//!
//! What Debian does not have goes into a cache outside the clone, where the tests look for it. What it has is its administrator's to
//! install: the list is shown, or they are installed with `--debian`. A test whose program is not there passes without trying it, and
//! `cargo xtask test` says so at its end; so does this go on when one of its sources cannot be reached.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{node, step, tools};

const DEBIAN: [&str; 11] = [
    // What fetches the rest.
    "maven",
    "python3-pip",
    "redis-server",
    "memcached",
    "postgresql",
    "mariadb-server",
    "rabbitmq-server",
    "nats-server",
    "prometheus-alertmanager",
    "iproute2",
    "nftables",
];
/// Says which services may start when they are installed: none, the tests start their own.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const NO_SERVICES: &str = "#!/bin/sh\nexit 101\n";

pub fn run(arguments: &[String]) -> Result<()> {
    let with_debian = match arguments {
        [] => false,
        [flag] if flag == "--debian" => true,
        _ => bail!("usage: cargo xtask programs [--debian]"),
    };
    let folder = node::cache()?.join("inquest/programs");
    // Debian's first: they bring what fetches the others.
    let debian = if with_debian {
        from_debian()
    } else {
        println!("of Debian, as its administrator: apt-get install {}", DEBIAN.join(" "));
        Ok(())
    };
    let outcomes = [debian, from_maven(&folder.join("java")), from_pypi(&folder.join("python"))];
    let failures: Vec<String> =
        outcomes.into_iter().filter_map(|it| it.err().map(|error| format!("{error:#}"))).collect();
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
}

fn from_maven(folder: &Path) -> Result<()> {
    fetch(folder, "pom.xml", |list| {
        let mut java = Command::new("mvn");
        java.args(["--quiet", "--batch-mode", "dependency:copy-dependencies", "--file"]).arg(list);
        java.arg(format!("-DoutputDirectory={}", folder.display()));
        step::run("Kafka and a server of documents, from Maven", &mut java)
    })
}

fn from_pypi(folder: &Path) -> Result<()> {
    fetch(folder, "requirements.txt", |list| {
        let mut python = Command::new("python3");
        python.args(["-m", "pip", "install", "--quiet", "--target"]).arg(folder);
        python.arg("--requirement").arg(list);
        step::run("client libraries, llama.cpp and the engine of Qdrant, from PyPI", &mut python)
    })
}

/// Fetches what the `list` of tests/programs names into `folder`, unless just that is there already.
fn fetch(folder: &Path, list: &str, by: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let list = step::root().join("tests/programs").join(list);
    let wanted = fs::read(&list).with_context(|| list.display().to_string())?;
    let fetched = folder.join(".fetched");
    if fs::read(&fetched).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    // Versions that are no longer wanted would stand beside those that are.
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    by(&list)?;
    Ok(fs::write(fetched, wanted)?)
}

fn from_debian() -> Result<()> {
    if !tools::can_install() {
        bail!("only root on Debian can install {}", DEBIAN.join(" "));
    }
    let ours = !Path::new(POLICY).exists();
    if ours {
        fs::write(POLICY, NO_SERVICES)?;
        fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
    }
    let installed = tools::install(&DEBIAN);
    if ours {
        fs::remove_file(POLICY)?;
    }
    installed
}
