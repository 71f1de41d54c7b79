//! Fixes below a restart: continue a stopped process, switch on keep-alive, reset one dead connection, end one child. Only
//! keep-alive is ever applied unasked; the others wait for the order `unblock`.
//!
//! Every process is opened as a pidfd before its start time is compared, so a process that reuses the number is never
//! touched.

use crate::process::handle;
use heartbeat::verdict::{Fix, Patience};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::process::{
    Pid, PidfdFlags, PidfdGetfdFlags, Signal, pidfd_getfd, pidfd_open, pidfd_send_signal,
};
use std::time::Duration;

/// Silence before the first keep-alive probe, at patience 1: an answer that is late has lasted longer already.
const PROBE_IDLE: Duration = Duration::from_secs(60);
/// Between two keep-alive probes, at patience 1.
const PROBE_EVERY: Duration = Duration::from_secs(30);
/// Unanswered probes after which the kernel resets the connection.
const PROBES_MAX: u32 = 6;

/// What became of a fix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FixOutcome {
    /// The fix was applied.
    Done,
    /// The process or socket no longer exists.
    Gone,
    /// Not a fix below a restart: the hub restarts and ends agents.
    NotApplicable,
}

/// Why a fix could not be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FixError {
    /// The number now refers to another process or socket.
    #[error("the process or socket has gone, and its number now refers to another one")]
    Another,
    /// A security module, a filter, or another user's process.
    #[error("not permitted")]
    Denied,
    /// The kernel refused.
    #[error("the kernel refused: {0}")]
    Kernel(Errno),
}

/// Applies one fix. `patience` scales the keep-alive times.
pub(crate) fn apply(fix: Fix, patience: Patience) -> Result<FixOutcome, FixError> {
    match fix {
        Fix::Cont { pid, started } => done(send(pid, started, Signal::CONT)),
        Fix::KeepAlive { pid, fd, inode } => done(keep_alive(pid, fd, inode, patience)),
        Fix::ResetSocket { pid, fd, inode } => done(reset(pid, fd, inode)),
        Fix::EndChild { pid, started } => done(send(pid, started, Signal::TERM)),
        Fix::None | Fix::End | Fix::Restart => Ok(FixOutcome::NotApplicable),
    }
}

/// Sends SIGKILL to a process that did not end by SIGTERM.
pub(crate) fn kill(pid: u32, started: u64) -> Result<FixOutcome, FixError> {
    done(send(pid, started, Signal::KILL))
}

/// A process that has ended is no error: it blocks nothing any more.
fn done(result: Result<(), FixError>) -> Result<FixOutcome, FixError> {
    match result {
        Ok(()) => Ok(FixOutcome::Done),
        Err(FixError::Kernel(Errno::SRCH | Errno::BADF)) => Ok(FixOutcome::Gone),
        Err(error) => Err(error),
    }
}

fn send(pid: u32, started: u64, signal: Signal) -> Result<(), FixError> {
    let process = hold(pid)?;
    // The pidfd is open, so the number cannot pass to another process between this check and the signal.
    if start_time(pid) != Some(started) {
        return Err(FixError::Another);
    }
    pidfd_send_signal(&process, signal).map_err(error)
}

fn keep_alive(pid: u32, fd: i32, inode: u64, patience: Patience) -> Result<(), FixError> {
    let socket = borrow(pid, fd, inode)?;
    // The kernel counts in whole seconds.
    let scaled = |time: Duration| Duration::from_secs(patience.scale(time).as_secs().max(1));
    sockopt::set_tcp_keepidle(&socket, scaled(PROBE_IDLE)).map_err(error)?;
    sockopt::set_tcp_keepintvl(&socket, scaled(PROBE_EVERY)).map_err(error)?;
    sockopt::set_tcp_keepcnt(&socket, PROBES_MAX).map_err(error)?;
    sockopt::set_socket_keepalive(&socket, true).map_err(error)
}

/// A reset, not `shutdown`: a client that reads line by line would take that for the regular end of its answer.
fn reset(pid: u32, fd: i32, inode: u64) -> Result<(), FixError> {
    let socket = borrow(pid, fd, inode)?;
    rustix::net::connect_unspec(&socket).map_err(error)
}

fn borrow(pid: u32, fd: i32, inode: u64) -> Result<OwnedFd, FixError> {
    let process = hold(pid)?;
    let socket = pidfd_getfd(&process, fd, PidfdGetfdFlags::empty()).map_err(error)?;
    if rustix::fs::fstat(socket.as_fd()).map_err(error)?.st_ino != inode {
        return Err(FixError::Another);
    }
    Ok(socket)
}

fn hold(pid: u32) -> Result<OwnedFd, FixError> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(FixError::Kernel(Errno::SRCH))?;
    pidfd_open(pid, PidfdFlags::empty()).map_err(error)
}

fn start_time(pid: u32) -> Option<u64> {
    let pid = i32::try_from(pid).ok()?;
    handle::stat(pid).map(|stat| stat.starttime)
}

fn error(errno: Errno) -> FixError {
    match errno {
        Errno::PERM | Errno::ACCESS | Errno::NOSYS => FixError::Denied,
        errno => FixError::Kernel(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::process::{Child, Command};
    use std::time::Instant;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    fn state(pid: u32) -> char {
        let process = procfs::process::Process::new(i32::try_from(pid).unwrap()).unwrap();
        process.stat().unwrap().state
    }

    fn eventually(what: &str, mut ok: impl FnMut() -> bool) {
        let start = Instant::now();
        while !ok() {
            assert!(start.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_stopped_process_is_woken() {
        let mut child = sleeper();
        let process = hold(child.id()).unwrap();
        pidfd_send_signal(&process, Signal::STOP).unwrap();
        eventually("it is stopped", || state(child.id()) == 'T');
        let started = start_time(child.id()).unwrap();
        let cont = |started| Fix::Cont {
            pid: child.id(),
            started,
        };
        let another = apply(cont(started + 1), Patience::ONE);
        assert_eq!(another, Err(FixError::Another));
        assert_eq!(state(child.id()), 'T');
        assert_eq!(apply(cont(started), Patience::ONE), Ok(FixOutcome::Done));
        eventually("it goes on", || state(child.id()) == 'S');
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_child_is_ended_only_when_it_is_the_one_that_was_meant() {
        let mut child = sleeper();
        let pid = child.id();
        let started = start_time(pid).unwrap();
        let another = Fix::EndChild {
            pid,
            started: started + 1,
        };
        assert_eq!(apply(another, Patience::ONE), Err(FixError::Another));
        assert_eq!(
            apply(Fix::EndChild { pid, started }, Patience::ONE),
            Ok(FixOutcome::Done)
        );
        assert!(!child.wait().unwrap().success());
        assert_eq!(
            apply(Fix::EndChild { pid, started }, Patience::ONE),
            Ok(FixOutcome::Gone)
        );
    }

    const CLIENT: &str = "import socket,sys\ns=socket.create_connection(('127.0.0.1',int(sys.argv[1])))\ntry:\n  print('got', s.recv(10))\nexcept OSError as e:\n  print('error', e.errno)\n";

    /// A python client that waits for an answer, the server's side of its connection, and its descriptor and inode.
    fn waiting_client() -> (Child, TcpStream, i32, u64) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let child = Command::new("python3")
            .args(["-c", CLIENT, &port])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let (server, _) = listener.accept().unwrap();
        let mut found = None;
        eventually("its socket is there", || {
            let process =
                procfs::process::Process::new(i32::try_from(child.id()).unwrap()).unwrap();
            found = process.fd().unwrap().flatten().find_map(|fd| {
                let procfs::process::FDTarget::Socket(inode) = fd.target else {
                    return None;
                };
                Some((fd.fd, inode))
            });
            found.is_some()
        });
        let (fd, inode) = found.unwrap();
        (child, server, fd, inode)
    }

    fn said(mut child: Child) -> String {
        let mut text = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        child.wait().unwrap();
        text
    }

    #[test]
    fn a_broken_connection_is_an_error_to_its_owner_and_not_an_end_of_file() {
        let (child, _server, fd, inode) = waiting_client();
        let wrong = Fix::ResetSocket {
            pid: child.id(),
            fd,
            inode: inode + 1,
        };
        assert_eq!(apply(wrong, Patience::ONE), Err(FixError::Another));
        let fix = Fix::ResetSocket {
            pid: child.id(),
            fd,
            inode,
        };
        assert_eq!(apply(fix, Patience::ONE), Ok(FixOutcome::Done));
        let text = said(child);
        assert!(text.starts_with("error"), "{text}");
    }

    #[test]
    fn keep_alive_does_not_hurt_a_living_peer() {
        let (child, mut server, fd, inode) = waiting_client();
        let fix = Fix::KeepAlive {
            pid: child.id(),
            fd,
            inode,
        };
        assert_eq!(
            apply(fix, Patience::new(0.01).unwrap()),
            Ok(FixOutcome::Done)
        );
        let socket = borrow(child.id(), fd, inode).unwrap();
        assert!(sockopt::socket_keepalive(&socket).unwrap());
        assert_eq!(
            sockopt::tcp_keepidle(&socket).unwrap(),
            Duration::from_secs(1)
        );
        drop(socket);
        std::thread::sleep(Duration::from_millis(2500));
        std::io::Write::write_all(&mut server, b"hi").unwrap();
        let text = said(child);
        assert!(text.starts_with("got b'hi'"), "{text}");
    }
}
