//! Whether two things of the kernel are one (`kcmp`): address spaces, tables of descriptors, what an epoll descriptor
//! watches. Needs the right to trace; without it the answer is none.

use super::read::why;
use heartbeat::verdict::sample::Why;
use nix::libc;
use std::cmp::Ordering;

const VM: libc::c_long = 1;
const FILES: libc::c_long = 2;
const EPOLL_TARGET: libc::c_long = 7;

/// The order of the memories of two processes, without meaning but that one memory is equal to itself.
pub(super) fn memory_order(one: u32, other: u32) -> Result<Ordering, Why> {
    match compare(one, other, VM, 0, 0) {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 => Ok(Ordering::Greater),
        -1 => Err(why(rustix::io::Errno::from_io_error(
            &std::io::Error::last_os_error(),
        )
        .unwrap_or(rustix::io::Errno::INVAL))),
        _ => Err(Why::Unsupported),
    }
}

/// Whether two threads share their descriptors.
pub(super) fn descriptors(one: u32, other: u32) -> Option<bool> {
    equal(compare(one, other, FILES, 0, 0))
}

/// Whether descriptor `fd` of the process leads to what its epoll descriptor watches under that number; `nth` counts
/// entries with the same number from 0.
pub(super) fn epoll_target(pid: u32, epoll: i32, fd: i32, nth: u32) -> Option<bool> {
    // struct kcmp_epoll_slot: epoll descriptor, watched number, which of them.
    let slot = [epoll as u32, fd as u32, nth];
    equal(compare(
        pid,
        pid,
        EPOLL_TARGET,
        libc::c_ulong::from(fd as u32),
        slot.as_ptr() as libc::c_ulong,
    ))
}

/// 0 is equal; 1 to 3 are orders of what differs.
fn equal(answer: libc::c_long) -> Option<bool> {
    match answer {
        0 => Some(true),
        1..=3 => Some(false),
        _ => None,
    }
}

#[expect(unsafe_code, reason = "no crate wraps kcmp")]
fn compare(
    one: u32,
    other: u32,
    kind: libc::c_long,
    first: libc::c_ulong,
    second: libc::c_ulong,
) -> libc::c_long {
    // SAFETY: the kernel only reads; the one pointer, of EPOLL_TARGET, points to a slot that outlives the call.
    unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            libc::c_long::from(one),
            libc::c_long::from(other),
            kind,
            first,
            second,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::epoll;
    use rustix::fd::{AsRawFd, OwnedFd};

    fn eventfd() -> OwnedFd {
        rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).unwrap()
    }

    #[test]
    fn another_process_has_memory_of_its_own() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let me = std::process::id();
        let (own, other) = (memory_order(me, me), memory_order(me, child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(own, Ok(Ordering::Equal));
        assert!(other.is_ok_and(Ordering::is_ne), "{other:?}");
    }

    #[test]
    fn a_number_that_was_closed_and_given_away_is_another_target() {
        let queue = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let watched = eventfd();
        let kept = watched.try_clone().unwrap();
        let data = epoll::EventData::new_u64(0);
        epoll::add(&queue, &watched, data, epoll::EventFlags::IN).unwrap();
        let number = watched.as_raw_fd();
        let ask = || epoll_target(std::process::id(), queue.as_raw_fd(), number, 0);
        assert_eq!(ask(), Some(true));
        let other = eventfd();
        let mut slot = watched;
        rustix::io::dup2(&other, &mut slot).unwrap();
        assert_eq!(ask(), Some(false));
        drop(kept);
    }
}
