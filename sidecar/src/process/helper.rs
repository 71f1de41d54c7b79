//! A process of ours beside the agent, which stays when we go. It begins before any thread exists, so it is a whole program.

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, setsid};
use std::ffi::CStr;
use std::os::fd::RawFd;

/// Forks a process that runs `run` and ends. It has a session of its own, where no signal for a group reaches it, and of
/// our descriptors only those in `keep`.
pub(crate) fn split_off(
    name: &CStr,
    mut keep: Vec<RawFd>,
    run: impl FnOnce(),
) -> std::io::Result<()> {
    #[expect(
        unsafe_code,
        reason = "no other way leaves the helper with what is open already"
    )]
    // SAFETY: no other thread exists yet, so the copy is whole.
    match unsafe { libc::fork() } {
        -1 => return Err(std::io::Error::last_os_error()),
        0 => {}
        _ => return Ok(()),
    }
    keep.sort_unstable();
    // What is refused here costs nothing but tidiness.
    let _ = (setsid(), chdir(c"/"), nix::sys::prctl::set_name(name));
    if let Ok(null) = open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()) {
        let _ = (dup2_stdin(&null), dup2_stdout(&null), dup2_stderr(&null));
    }
    close_all_but(&keep);
    run();
    #[expect(
        unsafe_code,
        reason = "the helper leaves without running anything of its parent's"
    )]
    // SAFETY: nothing runs after it.
    unsafe {
        libc::_exit(0)
    }
}

/// Closes every descriptor from 3 on that is not in this sorted list.
fn close_all_but(keep: &[RawFd]) {
    let mut from = 3;
    for &fd in keep.iter().filter(|fd| **fd >= 3) {
        close(from, fd - 1);
        from = fd + 1;
    }
    close(from, RawFd::MAX);
}

fn close(first: RawFd, last: RawFd) {
    if first <= last {
        #[expect(
            unsafe_code,
            reason = "closes descriptors that only their numbers name"
        )]
        // SAFETY: whatever owns them in this process is never used or dropped: it leaves by _exit.
        unsafe {
            libc::syscall(libc::SYS_close_range, first, last, 0)
        };
    }
}
