//! What this process was started with and owes the agent: signal mask, dispositions, closed standard descriptors.
//!
//! Rust's runtime ignores SIGPIPE and opens closed standard descriptors before `main` runs, so both are read before
//! that, by a function in `.init_array`.

use nix::libc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Bits of [`FOUND`]: descriptors 0, 1, 2 were closed, SIGPIPE and SIGCHLD were ignored.
const PIPE_IGNORED: u8 = 1 << 3;
const CHILD_IGNORED: u8 = 1 << 4;
/// The C library reserves these two for its threads and hides them; a program that ignores them at our start meant it.
const LIBRARYS: [(u8, i32); 2] = [(1 << 5, 32), (1 << 6, 33)];

static FOUND: AtomicU8 = AtomicU8::new(0);

#[expect(
    unsafe_code,
    reason = "the only moment before Rust's runtime changes what we look at"
)]
#[used]
// SAFETY: the function has the type that the loader calls, and touches nothing that needs the runtime.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let closed = (0..3)
        .filter(|fd| is_closed(*fd))
        .fold(0, |bits, fd| bits | 1 << fd);
    let pipe = if is_ignored(libc::SIGPIPE) {
        PIPE_IGNORED
    } else {
        0
    };
    let child = if is_ignored(libc::SIGCHLD) {
        CHILD_IGNORED
    } else {
        0
    };
    let librarys = LIBRARYS
        .into_iter()
        .filter(|(_, signal)| kernel_disposition(*signal, None) == libc::SIG_IGN)
        .fold(0, |bits, (bit, _)| bits | bit);
    FOUND.store(closed | pipe | child | librarys, Ordering::Relaxed);
}

fn is_closed(fd: i32) -> bool {
    #[expect(unsafe_code, reason = "asks after a number that may be no descriptor")]
    // SAFETY: F_GETFD reads a flag and takes no pointer.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    flags == -1
}

/// What the kernel does with a signal, and from now on: the library's own calls refuse the signals that it keeps.
fn kernel_disposition(signal: i32, set: Option<libc::sighandler_t>) -> libc::sighandler_t {
    /// As the kernel lays it out: handler, flags, restorer, mask.
    type Action = [usize; 4];
    let new: Action = [set.unwrap_or_default(), 0, 0, 0];
    let mut old: Action = [0; 4];
    let to_set = if set.is_some() {
        &raw const new
    } else {
        std::ptr::null()
    };
    #[expect(unsafe_code, reason = "no library asks the kernel itself")]
    // SAFETY: both structures have the kernel's size; no handler of ours is installed.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            to_set,
            &raw mut old,
            size_of::<u64>(),
        )
    };
    old[0]
}

fn is_ignored(signal: i32) -> bool {
    #[expect(unsafe_code, reason = "nix can only set a disposition, not read one")]
    // SAFETY: a zeroed sigaction is a valid place to write one to, and nothing is set.
    unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut found) == 0
            && found.sa_sigaction == libc::SIG_IGN
    }
}

/// Every signal, as the kernel counts them: the C library's own sets leave out the two that it keeps for itself, and
/// either would end us.
pub(crate) const EVERY_SIGNAL: u64 = !0;

/// What the agent gets back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inherited {
    mask: u64,
    found: u8,
}

impl Inherited {
    /// Takes over: every signal is blocked from here on, and comes through `signals`: also those that faults raise, since
    /// they can be sent, too. A fault of our own ends us all the same: the kernel does not let it be blocked. SIGCHLD and
    /// SIGPIPE get their default dispositions, since an ignored signal is never delivered at all.
    pub(crate) fn take() -> Self {
        let mask = kernel_mask(EVERY_SIGNAL);
        default(libc::SIGCHLD);
        default(libc::SIGPIPE);
        // Threads that the C library starts do not block the one it cancels them with.
        for (_, signal) in LIBRARYS {
            kernel_disposition(signal, Some(libc::SIG_IGN));
        }
        Self {
            mask,
            found: FOUND.load(Ordering::Relaxed),
        }
    }

    /// Whether a standard descriptor was closed when we started.
    pub(crate) fn was_closed(&self, standard: i32) -> bool {
        (0..3).contains(&standard) && self.found & 1 << standard != 0
    }

    /// Puts everything back as it was. For the agent's process between fork and exec: calls only what is
    /// async-signal-safe.
    pub(crate) fn give_back(&self) {
        for (bit, signal) in [
            (PIPE_IGNORED, libc::SIGPIPE),
            (CHILD_IGNORED, libc::SIGCHLD),
        ] {
            if self.found & bit != 0 {
                disposition(signal, libc::SIG_IGN);
            }
        }
        for (bit, signal) in LIBRARYS {
            let ignored = self.found & bit != 0;
            let before = if ignored {
                libc::SIG_IGN
            } else {
                libc::SIG_DFL
            };
            kernel_disposition(signal, Some(before));
        }
        for fd in 0..3 {
            if self.found & 1 << fd != 0 {
                #[expect(unsafe_code, reason = "what was closed for us is closed for the agent")]
                // SAFETY: nothing in the agent's process uses this descriptor any more.
                unsafe {
                    libc::close(fd)
                };
            }
        }
        kernel_mask(self.mask);
    }
}

/// Sets this thread's mask of blocked signals and returns the one before.
fn kernel_mask(mask: u64) -> u64 {
    let mut before: u64 = 0;
    #[expect(unsafe_code, reason = "no library blocks the signals that it keeps")]
    // SAFETY: both are sets of the kernel's size; the call cannot fail with them.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut before,
            size_of::<u64>(),
        )
    };
    before
}

fn default(signal: i32) {
    disposition(signal, libc::SIG_DFL);
}

fn disposition(signal: i32, handler: libc::sighandler_t) {
    #[expect(unsafe_code, reason = "no handler is installed")]
    // SAFETY: SIG_DFL and SIG_IGN run no code of ours.
    unsafe {
        libc::signal(signal, handler)
    };
}

/// Dies by this signal, so that our parent sees how the agent died. Returns where that is impossible: as PID 1, or
/// when the signal does not kill.
pub(crate) fn die_by(signal: i32) {
    if std::process::id() == 1 {
        return; // the kernel shields PID 1 from its own signals
    }
    // The agent has dumped its core; ours would overwrite it.
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    default(signal);
    #[expect(unsafe_code, reason = "nix has no names for real-time signals")]
    // SAFETY: a set of one valid signal, and a signal to ourselves.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::raise(signal);
    }
}
