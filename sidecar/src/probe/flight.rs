//! Descriptors that were sent over a unix socket and not received yet: no table of any process holds them, and the one that
//! receives them can end a wait. Whose they are the kernel does not show, only how many a socket has (Linux 5.6).

use super::descriptors::field;
use super::diag;
use super::read::{Reader, link};
use std::collections::BTreeSet;

/// What a search of the machine found of them.
#[derive(Debug)]
pub(super) struct Flights {
    /// The unix sockets of this network namespace; `None` where they are not listed.
    unix: Option<BTreeSet<u64>>,
    namespace: Option<String>,
    /// The process that was looked at last, and whether it is in that namespace.
    looked_at: Option<(u32, bool)>,
    found: Option<bool>,
}

impl Default for Flights {
    fn default() -> Self {
        Self {
            unix: diag::unix_sockets().ok(),
            namespace: link("/proc/self/ns/net").ok(),
            looked_at: None,
            found: Some(false),
        }
    }
}

impl Flights {
    /// Looks at a socket of a process.
    pub(super) fn look(
        &mut self,
        reader: &mut Reader,
        (pid, through): (u32, u32),
        fd: i32,
        inode: u64,
    ) {
        if self.found == Some(true) {
            return;
        }
        let is_unix = self.is_unix(pid, inode);
        if is_unix == Some(false) {
            return;
        }
        match waiting(reader, through, fd) {
            Some(0) => {}
            Some(_) => self.found = Some(true),
            // Of a socket that may be of another kind that says nothing.
            None if is_unix == Some(true) => self.found = None,
            None => {}
        }
    }

    /// `None` in another namespace than the one that is listed.
    fn is_unix(&mut self, pid: u32, inode: u64) -> Option<bool> {
        if self.looked_at.is_none_or(|(last, _)| last != pid) {
            let its = link(&format!("/proc/{pid}/ns/net")).ok();
            let is_listed = its.is_some() && its == self.namespace;
            self.looked_at = Some((pid, is_listed));
        }
        let is_listed = self.looked_at.is_some_and(|(_, is_listed)| is_listed);
        let unix = self.unix.as_ref().filter(|_| is_listed)?;
        Some(unix.contains(&inode))
    }

    /// Whether there are some; `None` where the kernel does not say.
    pub(super) fn found(&self) -> Option<bool> {
        self.found
    }
}

/// How many descriptors wait in a socket, and in the connections that it has not accepted yet.
fn waiting(reader: &mut Reader, through: u32, fd: i32) -> Option<u64> {
    let info = reader.text(&format!("/proc/{through}/fdinfo/{fd}")).ok()?;
    field(&info, "scm_fds:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::io::IoSlice;
    use std::os::fd::{AsFd, AsRawFd};
    use std::os::unix::net::{UnixListener, UnixStream};

    fn found(socket: &UnixListener) -> Option<bool> {
        let me = std::process::id();
        let inode = rustix::fs::fstat(socket).unwrap().st_ino;
        let mut flights = Flights::default();
        flights.look(&mut Reader::default(), (me, me), socket.as_raw_fd(), inode);
        flights.found()
    }

    #[test]
    fn what_waits_in_a_connection_that_was_not_accepted_is_found() {
        let place = tempfile::tempdir().unwrap();
        let at = place.path().join("s");
        let listener = UnixListener::bind(&at).unwrap();
        let sender = UnixStream::connect(&at).unwrap();
        assert_eq!(found(&listener), Some(false));
        let passed = [listener.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&passed)));
        sendmsg(
            &sender,
            &[IoSlice::new(b"x")],
            &mut control,
            SendFlags::empty(),
        )
        .unwrap();
        drop(sender);
        assert_eq!(found(&listener), Some(true));
    }
}
