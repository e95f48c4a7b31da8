//! `cargo xtask vm`: boots the agent, with its BPF object as it is, under another kernel in a virtual machine.
//!
//! The kernel is Debian's (6.1 for Debian 12), taken from its package; the machine is emulated: no KVM is needed. In it the agent
//! checks what the kernel allows, then watches a small web server and its client, and must have measured their requests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step;

const NEEDED: &str = "qemu-system-x86 busybox-static cpio";
const MEMORY: &str = "1024";
/// Longest that the machine may run, seconds.
const PATIENCE: &str = "900";
const BUSYBOX: &str = "/bin/busybox";
/// The last line of a run in which everything was as it must be.
const GOOD: &str = "vm: all is well";

/// What the machine does; its output is the console.
const INIT: &str = r#"#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tracefs trace /sys/kernel/tracing
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
uname -srm
# An emulated processor is slow: nothing is to be left out for that.
echo "cores = 64.0" > /agent.toml; echo "data = \"/tmp/agent\"" >> /agent.toml
inquest-agent check || echo "vm: check says no"
mkdir -p /www /tmp && echo hello > /www/note.txt
httpd -p 127.0.0.1:8080 -h /www
inquest-agent --config /agent.toml > /tmp/agent.log 2>&1 &
for second in $(seq 60); do
    wget -q -O /dev/null http://127.0.0.1:9469/metrics 2> /dev/null && break
    sleep 1
done
for number in 1 2 3 4 5; do
    wget -q -O /dev/null http://127.0.0.1:8080/note.txt
    wget -q -O /dev/null http://127.0.0.1:8080/missing 2> /dev/null
done
wget -q -O /dev/null http://127.0.0.1:1/ 2> /dev/null
measured() {
    wget -q -O - http://127.0.0.1:9469/metrics | grep "^$1" | grep "$2" | grep -v ' 0$'
}
# What is counted last is not known: each has its time.
awaited() {
    for second in $(seq 60); do
        measured "$@" && return
        sleep 1
    done
    return 1
}
problems=0
for wanted in \
    'inquest_request_duration_seconds_count protocol="http",outcome="ok"' \
    'inquest_request_duration_seconds_count protocol="http",outcome="failed"' \
    'inquest_inbound_request_duration_seconds_count protocol="http"' \
    'container_net_tcp_successful_connects_total destination=' \
    'container_net_tcp_failed_connects_total destination=' \
    'process_starts_total service='
do
    awaited $wanted || { echo "vm: nothing measured: $wanted"; problems=1; }
done
cat /tmp/agent.log
[ $problems = 0 ] && echo "vm: all is well"
poweroff -f
"#;

pub fn run(arguments: &[String]) -> Result<()> {
    let package = match arguments {
        [] => None,
        [flag, name] if flag == "--kernel" => Some(name.as_str()),
        _ => bail!("usage: cargo xtask vm [--kernel PACKAGE]"),
    };
    if !Path::new(BUSYBOX).exists() || !runs("qemu-system-x86_64") || !runs("cpio") {
        bail!("this recipe needs Debian's {NEEDED}: apt-get install --no-install-recommends {NEEDED}");
    }
    let folder = step::root().join("target/vm");
    fs::create_dir_all(&folder)?;
    let kernel = kernel(&folder, package)?;
    step::run("build the agent", &mut step::cargo(&["build", "--locked", "--package", "inquest-agent"]))?;
    let archive = initramfs(&folder, &step::built("debug").join("inquest-agent"))?;
    let mut command = Command::new("timeout");
    command.args([PATIENCE, "qemu-system-x86_64", "-M", "q35", "-cpu", "max", "-m", MEMORY, "-smp", "2"]);
    // Emulated, so that it runs alike with KVM, without it, and where it is nested and incomplete.
    command.args(["-accel", "tcg,thread=multi"]);
    command.args(["-nographic", "-no-reboot", "-net", "none"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(archive);
    command.args(["-append", "console=ttyS0 panic=-1 quiet mitigations=off"]);
    let mut good = false;
    step::lines("the agent under another kernel", &mut command, |line| good |= line.trim_end() == GOOD)?;
    if !good {
        bail!("the agent did not measure there what it must");
    }
    Ok(())
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// The kernel of a package, by default of the one that Debian's `linux-image-amd64` stands for.
fn kernel(folder: &Path, package: Option<&str>) -> Result<PathBuf> {
    let package = match package {
        Some(name) => name.to_owned(),
        None => {
            let output = Command::new("apt-cache").args(["depends", "linux-image-amd64"]).output()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let name = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
            name.context("apt knows no linux-image-amd64: apt-get update, or name one by --kernel")?
                .to_owned()
        }
    };
    let found = |below: &Path| {
        let files = fs::read_dir(below.join("boot")).ok()?;
        files.flatten().map(|it| it.path()).find(|path| path.to_string_lossy().contains("/vmlinuz-"))
    };
    let unpacked = folder.join(&package);
    if let Some(kernel) = found(&unpacked) {
        return Ok(kernel);
    }
    fs::create_dir_all(&unpacked)?;
    let mut fetch = Command::new("apt-get");
    step::run("fetch the kernel", fetch.args(["download", &package]).current_dir(&unpacked))?;
    let is_package = |path: &PathBuf| path.extension().is_some_and(|it| it == "deb");
    let file = fs::read_dir(&unpacked)?.flatten().map(|it| it.path()).find(is_package);
    let file = file.context("apt fetched no package")?;
    step::run("unpack the kernel", Command::new("dpkg").arg("-x").arg(&file).arg(&unpacked))?;
    fs::remove_file(file)?;
    found(&unpacked).context("the package holds no kernel")
}

/// Packs the agent, the libraries that it is linked with, and busybox.
fn initramfs(folder: &Path, agent: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for name in ["bin", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy(agent, root.join("bin/inquest-agent")).with_context(|| agent.display().to_string())?;
    // Debug information would fill the memory of the machine.
    let mut strip = Command::new("strip");
    step::run("strip the agent", strip.arg("--strip-all").arg(root.join("bin/inquest-agent")))?;
    let output = Command::new("ldd").arg(agent).output()?;
    for word in
        String::from_utf8_lossy(&output.stdout).split_whitespace().filter(|word| word.starts_with('/'))
    {
        let place = root.join(word.trim_start_matches('/'));
        fs::create_dir_all(place.parent().context("a library in no folder")?)?;
        fs::copy(word, place)?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox"))?;
    let output = Command::new(BUSYBOX).arg("--list").output()?;
    for name in String::from_utf8_lossy(&output.stdout).lines().filter(|name| *name != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name))?;
    }
    fs::write(root.join("init"), INIT)?;
    let mut executable = Command::new("chmod");
    step::run("make init executable", executable.arg("755").arg(root.join("init")))?;
    let archive = folder.join("initrd.gz");
    let pack = format!("find . | cpio --quiet -o -H newc | gzip -1 > '{}'", archive.display());
    step::run("pack", Command::new("sh").args(["-c", &pack]).current_dir(&root))?;
    Ok(archive)
}
