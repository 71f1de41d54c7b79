//! Sockets by netlink (`sock_diag`), for trees whose descriptors may not be borrowed. A list of the connections of this
//! network namespace costs what the machine's sockets cost; one that was listed before is asked by its name.

use super::read::why;
use super::tcp::{state, tcp};
use heartbeat::verdict::sample::{SocketKind, Tcp, TcpState, Why};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
    sockopt,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The most bytes of answers that are read: about 100 000 sockets.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// An answer that does not come is none.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);
const BY_FAMILY: u16 = 20;
const REQUEST_DUMP: u16 = 0x301;
const REQUEST: u16 = 1;
const DONE: u16 = 3;
const ERROR: u16 = 2;
const TCP: u8 = 6;
const LISTEN: u8 = 10;
const INET: u8 = 2;
const INET6: u8 = 10;
const UNIX: u8 = 1;
const ATTRIBUTE_INFO: u16 = 2;
const WANT_INFO: u8 = 1 << 1;
const MESSAGE_BYTES: usize = 72;
const NAME_BYTES: usize = 48;
const UNIX_NAME: u32 = 1;
const UNIX_PEER: u32 = 4;
const UNIX_QUEUE: u32 = 16;
const TIMER_KEEP_ALIVE: u8 = 2;

/// By what the kernel finds a TCP socket without a list: family, addresses, and a number that no other socket has.
#[derive(Clone, Debug)]
pub(super) struct TcpName {
    family: u8,
    id: [u8; NAME_BYTES],
}

/// The TCP sockets with these inodes, in any state.
pub(super) fn tcp_sockets(wanted: &BTreeSet<u64>) -> Result<BTreeMap<u64, (TcpName, Tcp)>, Why> {
    sockets_in(u32::MAX, wanted)
}

/// The TCP sockets with these inodes whose connection request is unanswered: the kernel passes over the others.
pub(super) fn connecting(wanted: &BTreeSet<u64>) -> Result<BTreeMap<u64, (TcpName, Tcp)>, Why> {
    const SYN_SENT: u32 = 1 << 2;
    sockets_in(SYN_SENT, wanted)
}

fn sockets_in(states: u32, wanted: &BTreeSet<u64>) -> Result<BTreeMap<u64, (TcpName, Tcp)>, Why> {
    let mut found = BTreeMap::new();
    for family in [INET, INET6] {
        let request = tcp_request(family, states, &[0; NAME_BYTES]);
        dump(&request, REQUEST_DUMP, |message| {
            if let Some((inode, tcp)) = connection(message)
                && wanted.contains(&inode)
                && let Some(name) = name(message)
            {
                found.insert(inode, (name, tcp));
            }
        })?;
    }
    Ok(found)
}

/// The TCP socket of this name, with its inode; none when it is gone.
pub(super) fn tcp_socket(name: &TcpName) -> Result<(u64, Tcp), Why> {
    let request = tcp_request(name.family, u32::MAX, &name.id);
    let mut found = None;
    dump(&request, REQUEST, |message| found = connection(message))?;
    found.ok_or(Why::Gone)
}

fn tcp_request(family: u8, states: u32, id: &[u8; NAME_BYTES]) -> Vec<u8> {
    let mut request = vec![family, TCP, WANT_INFO, 0];
    request.extend(states.to_ne_bytes());
    request.extend(id);
    request
}

/// `struct inet_diag_sockid` of an answer.
fn name(message: &[u8]) -> Option<TcpName> {
    Some(TcpName {
        family: *message.first()?,
        id: message.get(4..4 + NAME_BYTES)?.try_into().ok()?,
    })
}

/// Inodes of the sockets that listen on these ports.
pub(super) fn listeners(ports: &BTreeSet<u16>) -> Result<BTreeMap<u64, u16>, Why> {
    let mut found = BTreeMap::new();
    for family in [INET, INET6] {
        let mut request = vec![family, TCP, 0, 0];
        request.extend((1_u32 << LISTEN).to_ne_bytes());
        request.extend([0; 48]);
        dump(&request, REQUEST_DUMP, |message| {
            if let Some((inode, tcp)) = connection(message)
                && ports.contains(&tcp.local_port)
            {
                found.insert(inode, tcp.local_port);
            }
        })?;
    }
    Ok(found)
}

/// The unix socket with this inode; the kernel finds it without a list.
pub(super) fn unix_socket(inode: u64) -> Result<SocketKind, Why> {
    let request = unix_request(inode, UNIX_PEER | UNIX_QUEUE)?;
    let mut found = None;
    dump(&request, REQUEST, |message| {
        let listens = message.get(2) == Some(&10);
        let attributes = message.get(16..).unwrap_or_default();
        let queue = attribute(attributes, 4);
        let word = |bytes: &[u8]| bytes.get(..4)?.try_into().ok().map(u32::from_ne_bytes);
        let unread = queue.and_then(word).unwrap_or(0);
        found = Some(SocketKind::Unix {
            listens,
            peer: None,
            named: false,
            other: other_side(attributes),
            unread,
        });
    })?;
    found.ok_or(Why::Gone)
}

/// The inodes of all unix sockets of this network namespace.
pub(super) fn unix_sockets() -> Result<BTreeSet<u64>, Why> {
    let request = unix_request(0, 0)?;
    let mut found = BTreeSet::new();
    dump(&request, REQUEST_DUMP, |message| {
        let inode = message.get(4..8).and_then(|bytes| bytes.try_into().ok());
        found.extend(inode.map(|bytes| u64::from(u32::from_ne_bytes(bytes))));
    })?;
    Ok(found)
}

/// How a unix socket is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnixLink {
    /// The socket on the other side, by inode.
    pub(super) other: Option<u64>,
    /// Only its peer can send to it: a connected stream, or a datagram socket without a name.
    pub(super) exclusive: bool,
}

/// How the unix socket with this inode is connected.
pub(super) fn unix_link(inode: u64) -> Result<UnixLink, Why> {
    const DATAGRAM: u8 = 2;
    const NAME: u16 = 0;
    let mut found = None;
    dump(
        &unix_request(inode, UNIX_PEER | UNIX_NAME)?,
        REQUEST,
        |message| {
            let attributes = message.get(16..).unwrap_or_default();
            let datagram = message.get(1) == Some(&DATAGRAM);
            let named = attribute(attributes, NAME).is_some();
            found = Some(UnixLink {
                other: other_side(attributes),
                exclusive: !datagram || !named,
            });
        },
    )?;
    found.ok_or(Why::Gone)
}

fn unix_request(inode: u64, show: u32) -> Result<Vec<u8>, Why> {
    let mut request = vec![UNIX, 0, 0, 0];
    request.extend(u32::MAX.to_ne_bytes());
    let inode = u32::try_from(inode).map_err(|_| Why::Malformed)?;
    request.extend(inode.to_ne_bytes());
    request.extend(show.to_ne_bytes());
    request.extend([0xff; 8]); // no cookie
    Ok(request)
}

fn other_side(attributes: &[u8]) -> Option<u64> {
    let bytes = attribute(attributes, 2)?.get(..4)?.try_into().ok()?;
    Some(u64::from(u32::from_ne_bytes(bytes))).filter(|inode| *inode != 0)
}

fn dump(request: &[u8], flags: u16, mut each: impl FnMut(&[u8])) -> Result<(), Why> {
    let socket = ask(request, flags)?;
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut seen = 0;
    while seen < ANSWER_BYTES_MAX {
        let (length, _) = recv(&socket, &mut buffer[..], RecvFlags::empty()).map_err(why)?;
        seen += length;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while let Some((kind, body, after)) = message(rest) {
            match kind {
                DONE => return Ok(()),
                ERROR => return Err(error(body)),
                _ => each(body),
            }
            rest = after;
        }
        if flags == REQUEST || length == 0 {
            return Ok(());
        }
    }
    Err(Why::TooMany)
}

/// Why the kernel lists no sockets here; a filter of system calls forbids it.
pub(super) fn refusal() -> Option<Errno> {
    socket().err()
}

fn socket() -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(netlink::SOCK_DIAG),
    )
}

fn ask(request: &[u8], flags: u16) -> Result<OwnedFd, Why> {
    let socket = socket().map_err(why)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(ANSWER_WITHIN))
        .map_err(why)?;
    let length = u32::try_from(request.len() + 16).map_err(|_| Why::Malformed)?;
    let mut bytes = Vec::with_capacity(request.len() + 16);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend(request);
    send(&socket, &bytes, SendFlags::empty()).map_err(why)?;
    Ok(socket)
}

/// Kind, body and what follows.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(16..length)?;
    Some((
        kind,
        body,
        bytes.get(length.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

fn error(body: &[u8]) -> Why {
    let number = body
        .get(..4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, i32::from_ne_bytes);
    why(rustix::io::Errno::from_raw_os_error(
        number.saturating_neg(),
    ))
}

fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?);
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

/// `struct inet_diag_msg` and its attributes.
fn connection(message: &[u8]) -> Option<(u64, Tcp)> {
    let word = |at: usize| {
        Some(u32::from_ne_bytes(
            message.get(at..at + 4)?.try_into().ok()?,
        ))
    };
    let port = |at: usize| {
        Some(u16::from_be_bytes(
            message.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    let (family, number) = (*message.first()?, *message.get(1)?);
    let (timer, tries) = (*message.get(2)?, *message.get(3)?);
    let inode = u64::from(word(68)?);
    let rest = message.get(MESSAGE_BYTES..)?;
    let mut known = attribute(rest, ATTRIBUTE_INFO)
        .and_then(tcp)
        .unwrap_or_default();
    known.state = state(number);
    known.local_port = port(4)?;
    known.remote_port = port(6)?;
    known.local = address(family, message.get(8..24)?, known.local_port)?;
    known.remote = address(family, message.get(24..40)?, known.remote_port)?;
    known.unread = (known.state != TcpState::Listen)
        .then(|| word(56))
        .flatten();
    if known.state == TcpState::Listen {
        known.unacked = word(56)?;
    }
    // The timer names what the kernel waits for; retransmission hides the keep-alive's.
    known.keep_alive = match timer {
        TIMER_KEEP_ALIVE => Some(true),
        0 => Some(false),
        _ => None,
    };
    if timer == TIMER_KEEP_ALIVE {
        known.probes = known.probes.max(u32::from(tries));
    }
    Some((inode, known))
}

fn address(family: u8, bytes: &[u8], port: u16) -> Option<String> {
    let address = match family {
        INET => Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?).into(),
        INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::AsFd;
    use std::net::{TcpListener, TcpStream};

    fn inode(socket: impl AsFd) -> u64 {
        rustix::fs::fstat(socket).unwrap().st_ino
    }

    #[test]
    fn a_listener_and_its_client_are_found_by_inode() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let wanted = BTreeSet::from([inode(&listener), inode(&client)]);
        let found = tcp_sockets(&wanted).unwrap();
        let (_, listening) = &found[&inode(&listener)];
        assert_eq!((listening.state, listening.unacked), (TcpState::Listen, 1));
        let (_, connected) = &found[&inode(&client)];
        assert_eq!(connected.state, TcpState::Established);
        assert_eq!(connected.remote, listener.local_addr().unwrap().to_string());
        assert_eq!(connected.keep_alive, Some(false));
    }

    #[test]
    fn a_socket_that_was_listed_is_found_by_its_name_until_it_is_gone() {
        let listener = TcpListener::bind("[::1]:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, theirs) = (inode(&listener), inode(&client));
        let found = tcp_sockets(&BTreeSet::from([ours, theirs])).unwrap();
        let states = [ours, theirs].map(|inode| {
            let (asked, tcp) = tcp_socket(&found[&inode].0).unwrap();
            assert_eq!(asked, inode);
            tcp.state
        });
        assert_eq!(states, [TcpState::Listen, TcpState::Established]);
        drop((listener, client));
        assert!(tcp_socket(&found[&ours].0).is_err());
    }

    #[test]
    fn a_unix_socket_is_found_without_a_list() {
        let (one, two) = std::os::unix::net::UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut &two, b"hello").unwrap();
        let found = unix_socket(inode(&one)).unwrap();
        let SocketKind::Unix {
            listens,
            unread,
            other,
            ..
        } = found
        else {
            panic!("{found:?}")
        };
        assert!(!listens && unread > 0, "{found:?}");
        assert_eq!(other, Some(inode(&two)));
    }

    #[test]
    fn answers_that_are_cut_off_are_passed_over() {
        for bytes in [&[][..], &[1], &[255; 4], &[200, 0, 0, 0, 20, 0, 0, 0]] {
            assert!(message(bytes).is_none());
            assert!(attribute(bytes, 2).is_none());
            assert!(connection(bytes).is_none());
        }
    }
}
