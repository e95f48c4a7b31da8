//! Who listens where, on this host.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::l7::Role;

/// Ports that are remembered, and sockets whose end will be told.
const MOST: usize = 16 * 1024;
/// Sockets of one port that are told apart: a server with SO_REUSEPORT has one for each worker, and while it is reloaded as many again.
const MOST_OF_PORT: usize = 512;

/// A socket that listens.
#[derive(Clone, Copy, Debug)]
struct Listening {
    address: IpAddr,
    /// Whose it is.
    pid: u32,
    /// Its address in the kernel; not known of one that was there before the agent.
    socket: Option<u64>,
}

/// Listening sockets by network namespace and port.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Oldest first. An address may have several: with SO_REUSEPORT the next process listens before the last one has stopped.
    sockets: BTreeMap<(u32, u16), Vec<Listening>>,
    /// Where those sockets listen that were seen to begin, by their address in the kernel.
    places: HashMap<u64, (u32, SocketAddr)>,
}

impl Listeners {
    /// `pid` listens at `local`, with a socket that was there before the agent.
    pub fn open(&mut self, netns: u32, local: SocketAddr, pid: u32) {
        self.add(netns, local.port(), Listening { address: local.ip(), pid, socket: None });
    }

    /// The same, of a `socket` whose end will be told.
    pub fn opened(&mut self, netns: u32, local: SocketAddr, pid: u32, socket: u64) {
        // Its address was another's before, whose end was missed.
        if let Some((netns, local)) = self.places.remove(&socket) {
            self.remove(netns, local, Some(socket));
        }
        if self.places.len() < MOST {
            self.places.insert(socket, (netns, local));
        }
        // What `/proc` told may be this very socket: it began while the agent looked.
        let own = |it: &Listening| it.socket.is_none() && it.address == local.ip() && it.pid == pid;
        if let Some(found) = self.sockets.get_mut(&(netns, local.port()))
            && let Some(at) = found.iter().position(own)
        {
            found.remove(at);
        }
        self.add(netns, local.port(), Listening { address: local.ip(), pid, socket: Some(socket) });
    }

    fn add(&mut self, netns: u32, port: u16, listening: Listening) {
        let known = self.sockets.contains_key(&(netns, port));
        if port == 0 || (!known && self.sockets.len() >= MOST) {
            return;
        }
        let found = self.sockets.entry((netns, port)).or_default();
        if found.len() >= MOST_OF_PORT {
            found.remove(0);
        }
        found.push(listening);
    }

    /// `socket` listens no more; others may, at the same address. When the kernel chose its port, it has lost it already: `local` is
    /// without.
    pub fn closed(&mut self, netns: u32, local: SocketAddr, socket: u64) {
        match self.places.remove(&socket) {
            Some((netns, local)) => self.remove(netns, local, Some(socket)),
            // Of those that were there before the agent, any may have been this one: the oldest goes.
            None => self.remove(netns, local, Some(socket)) || self.remove(netns, local, None),
        };
    }

    /// Removes the oldest at `local` that is `socket`; whether there was one.
    fn remove(&mut self, netns: u32, local: SocketAddr, socket: Option<u64>) -> bool {
        let Some(found) = self.sockets.get_mut(&(netns, local.port())) else { return false };
        let at = found.iter().position(|it| it.socket == socket && it.address == local.ip());
        if let Some(at) = at {
            found.remove(at);
        }
        if found.is_empty() {
            self.sockets.remove(&(netns, local.port()));
        }
        at.is_some()
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
            .flat_map(|(_, sockets)| sockets.iter().rev())
            .filter(|it| it.address == remote.ip());
        found.next().map(|it| it.pid)
    }

    /// `heir` serves a socket that `pid`, which is gone, opened: as a daemon does that listens before it leaves its parent.
    pub fn inherit(&mut self, netns: u32, local: SocketAddr, pid: u32, heir: u32) {
        for listening in self.sockets.get_mut(&(netns, local.port())).into_iter().flatten() {
            if listening.pid == pid {
                listening.pid = heir;
            }
        }
    }

    /// Every port that is listened on, with whose it is: once for each socket.
    pub fn all(&self) -> impl Iterator<Item = (u16, u32)> {
        self.sockets.iter().flat_map(|((_, port), found)| found.iter().map(|it| (*port, it.pid)))
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

/// Whoever is bound to `address`, or to all of them; of several the newest, for the others are about to go.
fn accepts(found: &[Listening], address: IpAddr) -> Option<u32> {
    let exact = found.iter().rfind(|it| it.address == address);
    exact.or_else(|| found.iter().rfind(|it| it.address.is_unspecified())).map(|it| it.pid)
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
    fn a_port_that_the_kernel_chose_is_lost_before_its_end() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let mut listeners = Listeners::default();
        listeners.opened(1, at("127.0.0.1:40000"), 10, 0xff);
        listeners.opened(1, at("127.0.0.1:80"), 10, 0xfe);
        listeners.closed(1, at("127.0.0.1:0"), 0xff);
        assert_eq!(listeners.all().collect::<Vec<_>>(), [(80, 10)]);
        listeners.closed(1, at("127.0.0.1:80"), 0xfe);
        assert_eq!((listeners.all().count(), listeners.places.len()), (0, 0));
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
        listeners.closed(1, at("0.0.0.0:80"), 0xff);
        assert_eq!(listeners.owner(1, at("127.0.0.1:80")), None);
    }

    #[test]
    fn a_restart_without_a_pause_does_not_forget_the_port() {
        let at: SocketAddr = "0.0.0.0:443".parse().expect("an address");
        let pids = |listeners: &Listeners| listeners.all().map(|(_, pid)| pid).collect::<Vec<_>>();
        let mut listeners = Listeners::default();
        // HAProxy is reloaded, twice: the first process was there before the agent.
        listeners.open(1, at, 10);
        listeners.opened(1, at, 11, 0xa1);
        assert_eq!(listeners.behind(1, at), Some(11));
        listeners.closed(1, at, 0xa0);
        assert_eq!(pids(&listeners), [11]);
        listeners.opened(1, at, 12, 0xa2);
        listeners.closed(1, at, 0xa1);
        assert_eq!((pids(&listeners), listeners.behind(1, at)), (vec![12], Some(12)));
        // The new process gives up: the old one goes on.
        listeners.opened(1, at, 13, 0xa3);
        listeners.closed(1, at, 0xa3);
        assert_eq!((pids(&listeners), listeners.behind(1, at)), (vec![12], Some(12)));
        listeners.closed(1, at, 0xa2);
        assert_eq!((listeners.all().count(), listeners.sockets.len(), listeners.places.len()), (0, 0, 0));
    }

    #[test]
    fn each_worker_of_a_shared_port_counts_until_it_ends() {
        let at: SocketAddr = "0.0.0.0:443".parse().expect("an address");
        let mut listeners = Listeners::default();
        // One socket that `/proc` and the kernel's event both tell of, at the start.
        listeners.open(1, at, 10);
        listeners.opened(1, at, 10, 0xa0);
        listeners.opened(1, at, 11, 0xa1);
        listeners.closed(1, at, 0xa0);
        assert_eq!(listeners.all().collect::<Vec<_>>(), [(443, 11)]);
        // A socket at the place of one whose end was missed.
        listeners.opened(1, "0.0.0.0:80".parse().expect("an address"), 12, 0xa1);
        assert_eq!(listeners.all().collect::<Vec<_>>(), [(80, 12)]);
        for socket in 0..2 * MOST_OF_PORT as u64 {
            listeners.opened(1, at, 20, 0x1000 + socket);
        }
        assert_eq!(listeners.all().count(), 1 + MOST_OF_PORT);
    }
}
