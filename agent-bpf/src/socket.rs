//! From a file descriptor to the socket behind it, and from a socket to its two ends.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_get_current_task;

use crate::maps::Ends;
use crate::offset;

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
pub const TCP: u16 = 6;
const UDP: u16 = 17;
/// The only datagrams that are looked at.
const DNS_PORT: u16 = 53;

/// Reads a value of the kernel at `base + offset`.
#[inline(always)]
pub fn read<T>(base: u64, offset: usize) -> Option<T> {
    unsafe { bpf_probe_read_kernel((base + offset as u64) as *const T).ok() }
}

/// Two words at `base`; in one read where they are neighbours, as they are in most kernels. The verifier knows, and drops the other way.
#[inline(always)]
fn pair(base: u64, first: usize, second: usize) -> Option<(u64, u64)> {
    if second == first + 8 {
        let [first, second] = read::<[u64; 2]>(base, first)?;
        return Some((first, second));
    }
    Some((read(base, first)?, read(base, second)?))
}

/// The internet socket behind `fd` of the present process; nothing for a file, a pipe, a socket of another family.
#[inline(always)]
pub fn of_descriptor(fd: u64) -> Option<u64> {
    let fd = fd as u32;
    let task = unsafe { bpf_get_current_task() };
    let files: u64 = read(task, offset!(task_files))?;
    let table: u64 = read(files, offset!(files_fdt))?;
    let (bound, array) = pair(table, offset!(fdt_max_fds), offset!(fdt_fd))?;
    if fd >= bound as u32 {
        return None;
    }
    let file: u64 = read(array + u64::from(fd) * 8, 0)?;
    let (socket, inode) = pair(file, offset!(file_private), offset!(file_inode))?;
    let mode: u16 = read(inode, offset!(inode_mode))?;
    if mode & S_IFMT != S_IFSOCK {
        return None;
    }
    let sk: u64 = read(socket, offset!(socket_sk))?;
    is_internet(sk).then_some(sk)
}

/// Whether `sk` is of IPv4 or IPv6.
#[inline(always)]
pub fn is_internet(sk: u64) -> bool {
    matches!(read::<u16>(sk, offset!(sk_family)), Some(AF_INET | AF_INET6))
}

/// The protocol of `sk` if what that moves is looked at: TCP, or UDP of DNS.
#[inline(always)]
pub fn watched(sk: u64) -> Option<u16> {
    if !is_internet(sk) {
        return None;
    }
    let protocol = read::<u16>(sk, offset!(sk_protocol))?;
    let is_watched = match protocol {
        TCP => true,
        UDP => {
            read::<u16>(sk, offset!(sk_dport)).map(u16::from_be) == Some(DNS_PORT)
                || read::<u16>(sk, offset!(sk_num)) == Some(DNS_PORT)
        }
        _ => false,
    };
    is_watched.then_some(protocol)
}

/// The two ends of `sk`.
#[inline(always)]
pub fn ends(sk: u64) -> Option<Ends> {
    let mut ends = Ends::UNKNOWN;
    ends.family = read(sk, offset!(sk_family))?;
    ends.protocol = read(sk, offset!(sk_protocol))?;
    ends.local_port = read(sk, offset!(sk_num))?;
    ends.remote_port = u16::from_be(read(sk, offset!(sk_dport))?);
    if ends.family == AF_INET {
        let local: [u8; 4] = read(sk, offset!(sk_saddr))?;
        let remote: [u8; 4] = read(sk, offset!(sk_daddr))?;
        ends.local[0] = local[0];
        ends.local[1] = local[1];
        ends.local[2] = local[2];
        ends.local[3] = local[3];
        ends.remote[0] = remote[0];
        ends.remote[1] = remote[1];
        ends.remote[2] = remote[2];
        ends.remote[3] = remote[3];
    } else {
        ends.local = read(sk, offset!(sk_saddr6))?;
        ends.remote = read(sk, offset!(sk_daddr6))?;
    }
    let net: u64 = read(sk, offset!(sk_net))?;
    ends.netns = read(net, offset!(net_inum)).unwrap_or(0);
    Some(ends)
}
