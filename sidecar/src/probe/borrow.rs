//! A socket of another process, borrowed for a few microseconds: `pidfd_getfd` costs what the tree's own sockets cost,
//! not what the machine's do, and works across network namespaces. Needs the right to trace; `diag` is the other way.

use super::read::why;
use super::tcp::{INFO_BYTES, tcp};
use heartbeat::verdict::sample::{SocketKind, Tcp, TcpState, Until, Why};
use nix::libc;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddr, SocketType, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::time::Duration;

/// A process whose descriptors can be duplicated.
#[derive(Debug)]
pub(super) struct Lender(OwnedFd);

impl Lender {
    /// Holds the process by pidfd.
    pub(super) fn open(pid: u32) -> Result<Self, Why> {
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(Why::Malformed)?;
        pidfd_open(pid, PidfdFlags::empty()).map(Self).map_err(why)
    }

    /// The time limit that the socket itself sets to calls on it. Also whether it belongs to the kernel's own network.
    pub(super) fn socket_limit(&self, fd: i32, inode: u64) -> Result<(Until, bool), Why> {
        let socket = self.lend(fd, inode)?;
        let family = sockopt::socket_domain(&socket).map_err(why)?;
        let of = |which| sockopt::socket_timeout(&socket, which).map_err(why);
        let mut limits = vec![of(sockopt::Timeout::Recv)?, of(sockopt::Timeout::Send)?];
        if family == AddressFamily::INET || family == AddressFamily::INET6 {
            let millis = sockopt::tcp_user_timeout(&socket).map_err(why)?;
            limits.push((millis > 0).then(|| Duration::from_millis(millis.into())));
        }
        let limit = limits.into_iter().flatten().min();
        Ok((
            limit.map_or(Until::Never, Until::In),
            family == AddressFamily::NETLINK,
        ))
    }

    /// The time limit that a terminal's settings give to a read.
    pub(super) fn terminal_limit(&self, fd: i32) -> Result<Until, Why> {
        let terminal = pidfd_getfd(&self.0, fd, PidfdGetfdFlags::empty()).map_err(why)?;
        let modes = rustix::termios::tcgetattr(&terminal).map_err(why)?;
        let tenths = modes.special_codes[rustix::termios::SpecialCodeIndex::VTIME];
        let by_lines = modes
            .local_modes
            .contains(rustix::termios::LocalModes::ICANON);
        Ok(if by_lines || tenths == 0 {
            Until::Never
        } else {
            Until::In(Duration::from_millis(100 * u64::from(tenths)))
        })
    }

    fn lend(&self, fd: i32, inode: u64) -> Result<OwnedFd, Why> {
        let socket = pidfd_getfd(&self.0, fd, PidfdGetfdFlags::empty()).map_err(why)?;
        if rustix::fs::fstat(&socket).map_err(why)?.st_ino != inode {
            return Err(Why::Gone);
        }
        Ok(socket)
    }

    /// What its socket is; the inode makes sure that it still is the same.
    pub(super) fn socket(&self, fd: i32, inode: u64) -> Result<SocketKind, Why> {
        let socket = self.lend(fd, inode)?;
        let family = sockopt::socket_domain(&socket).map_err(why)?;
        let stream = sockopt::socket_type(&socket).map_err(why)? == SocketType::STREAM;
        if family == AddressFamily::UNIX {
            return Ok(unix(&socket));
        }
        let internet = family == AddressFamily::INET || family == AddressFamily::INET6;
        if !(internet && stream) {
            return Ok(SocketKind::Other);
        }
        match info(&socket) {
            Ok(bytes) => {
                let tcp = tcp(&bytes).ok_or(Why::Malformed)?;
                Ok(SocketKind::Tcp(Box::new(complete(&socket, tcp))))
            }
            // A stream that is no TCP: SCTP, MPTCP of an old kernel.
            Err(Errno::OPNOTSUPP | Errno::NOPROTOOPT) => Ok(SocketKind::Other),
            Err(errno) => Err(why(errno)),
        }
    }
}

fn unix(socket: &OwnedFd) -> SocketKind {
    let listens = sockopt::socket_acceptconn(socket).unwrap_or(false);
    // Of a listener these are the credentials of itself.
    let peer = sockopt::socket_peercred(socket).ok().filter(|_| !listens);
    let unread = rustix::io::ioctl_fionread(socket).unwrap_or(0);
    SocketKind::Unix {
        listens,
        peer: peer.and_then(|c| u32::try_from(c.pid.as_raw_nonzero().get()).ok()),
        named: listens || is_named(socket),
        other: None,
        unread: u32::try_from(unread).unwrap_or(u32::MAX),
    }
}

/// A socket that was accepted has the address of the one that listened; a client's has none.
fn is_named(socket: &OwnedFd) -> bool {
    let address = rustix::net::getsockname(socket).ok();
    let address = address.and_then(|a| rustix::net::SocketAddrUnix::try_from(a).ok());
    address.is_some_and(|a| a.path_bytes().is_some() || a.abstract_name().is_some())
}

fn complete(socket: &OwnedFd, tcp: Tcp) -> Tcp {
    let (local, local_port) = rustix::net::getsockname(socket)
        .ok()
        .map(name)
        .unwrap_or_default();
    let remote = rustix::net::getpeername(socket).ok().flatten();
    let (remote, remote_port) = remote.map(name).unwrap_or_default();
    // Of a listener the call fails: it has no data.
    let unread = match tcp.state {
        TcpState::Listen => None,
        TcpState::Established | TcpState::SynSent | TcpState::CloseWait | TcpState::Closing => {
            let bytes = rustix::io::ioctl_fionread(socket).ok();
            bytes.map(|n| u32::try_from(n).unwrap_or(u32::MAX))
        }
    };
    let keep_alive = sockopt::socket_keepalive(socket).ok();
    Tcp {
        local,
        local_port,
        remote,
        remote_port,
        unread,
        keep_alive,
        ..tcp
    }
}

fn name(address: rustix::net::SocketAddrAny) -> (String, u16) {
    match SocketAddr::try_from(address) {
        Ok(address) => (address.to_string(), address.port()),
        Err(_) => (String::new(), 0),
    }
}

#[expect(
    unsafe_code,
    reason = "no safe wrapper reads the whole of tcp_info: bytes received stand behind the old part"
)]
fn info(socket: impl AsFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0_u8; INFO_BYTES];
    let mut length = INFO_BYTES as libc::socklen_t;
    // SAFETY: the descriptor is open, the buffer has `length` bytes, the kernel writes at most so many and says how many.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            bytes.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if answer != 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL));
    }
    bytes.truncate(length as usize);
    Ok(bytes)
}
