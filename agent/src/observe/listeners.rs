//! Who listens where, on this host.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::l7::Role;

/// Listening sockets that are remembered.
const MOST: usize = 16 * 1024;

/// Listening sockets by network namespace and port.
#[derive(Debug, Default)]
pub struct Listeners {
    sockets: BTreeMap<(u32, u16), Vec<(IpAddr, u32)>>,
}

impl Listeners {
    /// `pid` listens at `local`.
    pub fn open(&mut self, netns: u32, local: SocketAddr, pid: u32) {
        let known = self.sockets.contains_key(&(netns, local.port()));
        if local.port() == 0 || (!known && self.sockets.len() >= MOST) {
            return;
        }
        let found = self.sockets.entry((netns, local.port())).or_default();
        found.retain(|(address, _)| *address != local.ip());
        found.push((local.ip(), pid));
    }

    /// Nobody listens at `local` any more.
    pub fn close(&mut self, netns: u32, local: SocketAddr) {
        if let Some(found) = self.sockets.get_mut(&(netns, local.port())) {
            found.retain(|(address, _)| *address != local.ip());
            if found.is_empty() {
                self.sockets.remove(&(netns, local.port()));
            }
        }
    }

    /// Which end of an established connection is the server, going by who listens.
    pub fn role(&self, netns: u32, local: SocketAddr, remote: SocketAddr) -> Option<Role> {
        let listens = |at: SocketAddr| self.behind(netns, at).is_some();
        match (listens(local), remote.ip().is_loopback() && listens(remote)) {
            (true, false) => Some(Role::Server),
            (false, true) => Some(Role::Client),
            _ => None,
        }
    }

    /// The process that listens at `local`, an address of this namespace.
    pub fn behind(&self, netns: u32, local: SocketAddr) -> Option<u32> {
        accepts(self.sockets.get(&(netns, local.port()))?, local.ip())
    }

    /// The process that listens at `remote`, as seen from `netns`. Other hosts have the same ports, so that only an address of this
    /// very namespace, or one that a socket is bound to by name, counts.
    pub fn owner(&self, netns: u32, remote: SocketAddr) -> Option<u32> {
        if remote.ip().is_loopback() {
            return self.behind(netns, remote);
        }
        let mut found = self
            .sockets
            .iter()
            .filter(|((_, port), _)| *port == remote.port())
            .flat_map(|(_, sockets)| sockets)
            .filter(|(address, _)| *address == remote.ip());
        found.next().map(|(_, pid)| *pid)
    }

    /// `heir` serves a socket that `pid`, which is gone, opened: as a daemon does that listens before it leaves its parent.
    pub fn inherit(&mut self, netns: u32, local: SocketAddr, pid: u32, heir: u32) {
        for (_, owner) in self.sockets.get_mut(&(netns, local.port())).into_iter().flatten() {
            if *owner == pid {
                *owner = heir;
            }
        }
    }

    /// Every port that is listened on, with whose it is.
    pub fn all(&self) -> impl Iterator<Item = (u16, u32)> {
        self.sockets.iter().flat_map(|((_, port), found)| found.iter().map(|(_, pid)| (*port, *pid)))
    }

    /// Reads the sockets that listened before the agent came, with their owners, from below `root`.
    pub fn read(&mut self, root: &Path) {
        let mut owners = HashMap::new();
        let mut spaces: HashMap<u32, u32> = HashMap::new();
        let Ok(folder) = std::fs::read_dir(root.join("proc")) else { return };
        let pids: Vec<u32> =
            folder.flatten().filter_map(|it| it.file_name().to_str()?.parse().ok()).collect();
        for pid in pids {
            let folder = root.join(format!("proc/{pid}"));
            if let Some(netns) = number(&folder.join("ns/net"), "net:[") {
                spaces.entry(netns as u32).or_insert(pid);
            }
            for fd in std::fs::read_dir(folder.join("fd")).into_iter().flatten().flatten() {
                if let Some(inode) = number(&fd.path(), "socket:[") {
                    owners.entry(inode).or_insert(pid);
                }
            }
        }
        for (netns, pid) in spaces {
            for file in ["tcp", "tcp6"] {
                let text =
                    std::fs::read_to_string(root.join(format!("proc/{pid}/net/{file}"))).unwrap_or_default();
                for (local, inode) in text.lines().filter_map(listening) {
                    if let Some(owner) = owners.get(&inode) {
                        self.open(netns, local, *owner);
                    }
                }
            }
        }
    }
}

/// Whoever is bound to `address`, or to all of them.
fn accepts(found: &[(IpAddr, u32)], address: IpAddr) -> Option<u32> {
    let exact = found.iter().find(|(bound, _)| *bound == address);
    exact.or_else(|| found.iter().find(|(bound, _)| bound.is_unspecified())).map(|(_, pid)| *pid)
}

/// The number in a link such as `socket:[123]`.
fn number(link: &Path, before: &str) -> Option<u64> {
    let target = std::fs::read_link(link).ok()?;
    target.to_str()?.strip_prefix(before)?.strip_suffix(']')?.parse().ok()
}

/// A line of `/proc/net/tcp` in state 0A: the local address, and the inode.
fn listening(line: &str) -> Option<(SocketAddr, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if *fields.get(3)? != "0A" {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let words: Vec<u32> = (0..address.len() / 8)
        .map(|at| u32::from_str_radix(&address[at * 8..at * 8 + 8], 16).ok())
        .collect::<Option<_>>()?;
    // Each word is shown as the number that this machine reads there.
    let ip = match words.as_slice() {
        [word] => IpAddr::from(word.to_ne_bytes()),
        [_, _, _, _] => {
            let mut bytes = [0; 16];
            for (place, word) in bytes.chunks_exact_mut(4).zip(&words) {
                place.copy_from_slice(&word.to_ne_bytes());
            }
            IpAddr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some((SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?), fields.get(9)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 0 100";
        assert_eq!(listening(line), Some(("127.0.0.1:8080".parse().expect("an address"), 4242)));
        let line = "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 7 1";
        assert_eq!(listening(line), Some(("[::1]:80".parse().expect("an address"), 7)));
        assert_eq!(listening(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(listening(""), None);
    }

    #[test]
    fn roles_and_owners() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let mut listeners = Listeners::default();
        listeners.open(1, at("0.0.0.0:80"), 10);
        assert_eq!(listeners.role(1, at("127.0.0.1:80"), at("127.0.0.1:5000")), Some(Role::Server));
        assert_eq!(listeners.role(1, at("127.0.0.1:5000"), at("127.0.0.1:80")), Some(Role::Client));
        assert_eq!(listeners.role(1, at("10.0.0.1:5000"), at("10.0.0.2:80")), None);
        assert_eq!(listeners.owner(1, at("127.0.0.1:80")), Some(10));
        assert_eq!(listeners.owner(2, at("127.0.0.1:80")), None);
        assert_eq!(listeners.owner(1, at("10.0.0.2:80")), None);
        listeners.inherit(1, at("127.0.0.1:80"), 10, 11);
        assert_eq!(listeners.owner(1, at("127.0.0.1:80")), Some(11));
        listeners.close(1, at("0.0.0.0:80"));
        assert_eq!(listeners.owner(1, at("127.0.0.1:80")), None);
    }
}
