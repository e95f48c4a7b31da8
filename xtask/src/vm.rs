//! `cargo xtask vm`: boots the agent, with its BPF object as it is, under another kernel in a virtual machine.
//!
//! The kernel is Debian's (6.1 for Debian 12), taken from its package; the machine is emulated: no KVM is needed. In it the agent
//! checks what the kernel allows, then watches a small web server and its client, and must have measured their requests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step;

const USAGE: &str = "usage: cargo xtask vm [--arch amd64|arm64] [--kernel PACKAGE]";
const MEMORY: &str = "1024";
/// Longest that the machine may run, seconds.
const PATIENCE: &str = "900";
/// The last line of a run in which everything was as it must be.
const GOOD: &str = "vm: all is well";

/// A kind of machine.
struct Kind {
    /// As Debian calls it.
    architecture: &'static str,
    /// As Rust does, where it is not that of the host.
    target: Option<&'static str>,
    /// The emulator, and what it is asked for.
    emulator: &'static str,
    machine: &'static [&'static str],
    console: &'static str,
    /// What the names of its compiler and its tools begin with.
    tools: &'static str,
    /// Debian's packages that the recipe needs.
    needed: &'static str,
}

impl Kind {
    fn tool(&self, name: &str) -> String {
        format!("{}{name}", self.tools)
    }
}

const KINDS: [Kind; 2] = [
    Kind {
        architecture: "amd64",
        target: None,
        emulator: "qemu-system-x86_64",
        machine: &["-M", "q35", "-cpu", "max"],
        console: "ttyS0",
        tools: "",
        needed: "qemu-system-x86 cpio",
    },
    Kind {
        architecture: "arm64",
        target: Some("aarch64-unknown-linux-gnu"),
        emulator: "qemu-system-aarch64",
        // Authentication of pointers as the architecture has it takes most of an emulator's time.
        machine: &["-M", "virt", "-cpu", "max,pauth-impdef=on"],
        console: "ttyAMA0",
        tools: "aarch64-linux-gnu-",
        needed: "qemu-system-arm ipxe-qemu cpio gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    },
];

/// What the machine does; its output is the console.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
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
    let (mut kind, mut named) = (&KINDS[0], None);
    for pair in arguments.chunks(2) {
        match pair {
            [flag, name] if flag == "--arch" => {
                kind = KINDS.iter().find(|it| it.architecture == name).context(USAGE)?;
            }
            [flag, name] if flag == "--kernel" => named = Some(name.as_str()),
            _ => bail!(USAGE),
        }
    }
    if ![kind.emulator, &kind.tool("strip"), "cpio"].into_iter().all(runs) {
        let needed = kind.needed;
        bail!("this recipe needs Debian's {needed}: apt-get install --no-install-recommends {needed}");
    }
    let folder = step::root().join("target/vm").join(kind.architecture);
    fs::create_dir_all(&folder)?;
    let kernel = kernel(&folder, kind, named)?;
    let agent = agent(kind)?;
    let archive = initramfs(&folder, kind, &agent)?;
    let mut command = Command::new("timeout");
    command.args([PATIENCE, kind.emulator]).args(kind.machine).args(["-m", MEMORY, "-smp", "2"]);
    // Emulated, so that it runs alike with KVM, without it, and where it is nested and incomplete.
    command.args(["-accel", "tcg,thread=multi"]);
    command.args(["-nographic", "-no-reboot", "-net", "none"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(archive);
    command.arg("-append").arg(format!("console={} panic=-1 quiet mitigations=off", kind.console));
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

/// Builds the agent; where it is.
fn agent(kind: &Kind) -> Result<PathBuf> {
    let mut build = step::cargo(&["build", "--locked", "--package", "inquest-agent"]);
    let mut built = step::built("debug");
    if let Some(target) = kind.target {
        build.args(["--target", target]);
        let linker = format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_"));
        if std::env::var_os(&linker).is_none() {
            build.env(linker, kind.tool("gcc"));
        }
        built = step::built(&format!("{target}/debug"));
    }
    step::run("build the agent", &mut build)?;
    Ok(built.join("inquest-agent"))
}

/// The file of a package, fetched unless it is there.
fn package(folder: &Path, name: &str) -> Result<PathBuf> {
    let folder = folder.join(name);
    fs::create_dir_all(&folder)?;
    let file = || -> Option<PathBuf> {
        let mut files = fs::read_dir(&folder).ok()?.flatten().map(|it| it.path());
        files.find(|path| path.extension().is_some_and(|it| it == "deb"))
    };
    if file().is_none() {
        let mut fetch = Command::new("apt-get");
        step::run(&format!("fetch {name}"), fetch.args(["download", name]).current_dir(&folder))?;
    }
    file().context("apt fetched no package")
}

fn unpack(package: &Path, place: &Path) -> Result<()> {
    fs::create_dir_all(place)?;
    step::run("unpack", Command::new("dpkg").arg("-x").arg(package).arg(place))
}

/// The kernel of a package, by default of the one that Debian's `linux-image-amd64` stands for, or `linux-image-arm64`.
fn kernel(folder: &Path, kind: &Kind, named: Option<&str>) -> Result<PathBuf> {
    let name = match named {
        Some(name) => name.to_owned(),
        None => newest_kernel(kind.architecture)?,
    };
    let place = folder.join("kernel").join(&name);
    let found = || -> Option<PathBuf> {
        let files = fs::read_dir(place.join("boot")).ok()?;
        files.flatten().map(|it| it.path()).find(|path| path.to_string_lossy().contains("/vmlinuz-"))
    };
    if let Some(kernel) = found() {
        return Ok(kernel);
    }
    unpack(&package(folder, &name)?, &place)?;
    found().context("the package holds no kernel")
}

fn newest_kernel(architecture: &str) -> Result<String> {
    let whole = format!("linux-image-{architecture}:{architecture}");
    let output = Command::new("apt-cache").args(["depends", &whole]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let name = text.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    name.map(str::to_owned).with_context(|| {
        format!(
            "apt knows no {whole}: dpkg --add-architecture {architecture}, then apt-get update; or name one by --kernel"
        )
    })
}

/// Packs the agent, the libraries that it is linked with, and busybox.
fn initramfs(folder: &Path, kind: &Kind, agent: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    for name in ["bin", "proc", "sys", "dev", "tmp"] {
        fs::create_dir_all(root.join(name))?;
    }
    for name in ["busybox-static", "libc6", "libgcc-s1"] {
        unpack(&package(folder, &format!("{name}:{}", kind.architecture))?, &root)?;
    }
    let copy = root.join("bin/inquest-agent");
    fs::copy(agent, &copy).with_context(|| agent.display().to_string())?;
    // Debug information would fill the memory of the machine.
    step::run("strip the agent", Command::new(kind.tool("strip")).arg("--strip-all").arg(&copy))?;
    fs::write(root.join("init"), INIT)?;
    let mut executable = Command::new("chmod");
    step::run("make init executable", executable.arg("755").arg(root.join("init")))?;
    let archive = folder.join("initrd.gz");
    let pack = format!("find . | cpio --quiet -o -H newc | gzip -1 > '{}'", archive.display());
    step::run("pack", Command::new("sh").args(["-c", &pack]).current_dir(&root))?;
    Ok(archive)
}
