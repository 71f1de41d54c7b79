//! Processes, named so that a number that was given away cannot be acted upon: by descriptor and start time.
//!
//! This room is part of the vocabulary, as `clock` is: the others may use it.

pub(crate) mod file;

use crate::clock;
use heartbeat::base::moment::{Moment, millis};
use heartbeat::wire::beat::Exit;
use heartbeat::wire::lease::Holder;
use nix::errno::Errno;
use nix::libc;
use procfs::process::Stat;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::LazyLock;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// One process. It stays the same one for as long as this value lives: by its descriptor, or because it is our child and
/// was not waited for.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// In clock ticks after the start of the machine; 0 where /proc does not show it.
    pub(crate) started: u64,
    name: Name,
}

/// What signals are sent to.
#[derive(Debug)]
enum Name {
    Descriptor(OwnedFd),
    /// A child of ours: with a descriptor where the kernel gives one (seccomp, gVisor and a full table of descriptors
    /// refuse it), else by its number, which is its own until we wait for it.
    Child(Option<OwnedFd>),
}

impl Process {
    /// The process that has this number now. A zombie is dead.
    pub(crate) fn open(pid: i32) -> io::Result<Self> {
        let raw = Pid::from_raw(pid).ok_or_else(gone)?;
        let fd = pidfd_open(raw, PidfdFlags::empty())?;
        // Read after the descriptor was opened: if the number had been given away before, this is its new owner's.
        let stat = stat(pid).filter(is_alive).ok_or_else(gone)?;
        Ok(Self {
            pid,
            started: stat.starttime,
            name: Name::Descriptor(fd),
        })
    }

    /// A child of ours that was not waited for: it may have ended, and its number is its own all the same. Cannot fail:
    /// a child that was forked is watched, whatever the kernel refuses.
    pub(crate) fn of_child(pid: i32) -> Self {
        let raw = Pid::from_raw(pid);
        Self {
            pid,
            started: stat(pid).map_or(0, |stat| stat.starttime),
            name: Name::Child(raw.and_then(|raw| pidfd_open(raw, PidfdFlags::empty()).ok())),
        }
    }

    /// The process of this number, if it is still the one that started then.
    pub(crate) fn named(pid: i32, started: u64) -> io::Result<Self> {
        Self::open(pid).and_then(|found| {
            if found.started == started {
                Ok(found)
            } else {
                Err(gone())
            }
        })
    }

    /// Sends a signal to it and to no other.
    pub(crate) fn signal(&self, number: i32) -> io::Result<()> {
        match self.send(number, None, 0) {
            Some(sent) => sent,
            None => kill(self.pid, number),
        }
    }

    /// Sends a signal, with its value, to the process group that it leads.
    pub(crate) fn signal_group(&self, number: i32, value: Option<u64>) -> io::Result<()> {
        const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2; // Linux 6.9
        match self.send(number, value, PIDFD_SIGNAL_PROCESS_GROUP) {
            Some(Err(error)) if error.raw_os_error() == Some(libc::EINVAL) => {}
            Some(sent) => return sent,
            None => {}
        }
        // A value can only be queued to one process there.
        let queued = value.and_then(|_| self.send(number, value, 0));
        queued.unwrap_or_else(|| kill(-self.pid, number))
    }

    /// Sends by descriptor; `None` where that is not possible, and the number of a child stands for it.
    fn send(&self, number: i32, value: Option<u64>, flags: libc::c_uint) -> Option<io::Result<()>> {
        match &self.name {
            Name::Descriptor(fd) => Some(send(fd, number, value, flags)),
            Name::Child(None) => None,
            Name::Child(Some(fd)) => {
                let sent = send(fd, number, value, flags);
                let refused = sent.as_ref().err().and_then(io::Error::raw_os_error);
                // A filter of system calls refuses with either.
                (!matches!(refused, Some(libc::ENOSYS | libc::EPERM))).then_some(sent)
            }
        }
    }

    fn descriptor(&self) -> Option<&OwnedFd> {
        match &self.name {
            Name::Descriptor(fd) => Some(fd),
            Name::Child(fd) => fd.as_ref(),
        }
    }

    /// A descriptor that becomes readable once the process has ended.
    pub(crate) fn until_ended(&self) -> io::Result<AsyncFd<OwnedFd>> {
        let fd = self.descriptor().ok_or(io::ErrorKind::Unsupported)?;
        until_readable(fd.try_clone()?)
    }

    /// How it ended, if it was reaped and the kernel remembers (Linux 6.15).
    pub(crate) fn exit(&self) -> Option<Exit> {
        pidfd_exit(self.descriptor()?).map(exit_of)
    }

    /// How it ended, as long as its parent has not reaped it. Where the kernel hides it, it shows 0: a clean end cannot be distinguished from that.
    pub(crate) fn exit_before_reaped(&self) -> Option<Exit> {
        let stat = named_stat(self.pid, self.started).filter(|stat| !is_alive(stat))?;
        stat.exit_code.filter(|status| *status != 0).map(exit_of)
    }

    /// Whether it has ended, reaped or not.
    pub(crate) fn has_ended(&self) -> bool {
        let Some(fd) = self.descriptor() else {
            return waits_to_be_reaped(self.pid);
        };
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        rustix::event::poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    /// When it started, Unix milliseconds, as the clocks stand now.
    pub(crate) fn started_ms(&self) -> u64 {
        let after_boot = self.started.saturating_mul(1000) / procfs::ticks_per_second().max(1);
        let ago = clock::now().since(Moment::from_millis(after_boot));
        clock::wall_ms().saturating_sub(millis(ago))
    }

    /// Whether its parent has reaped it.
    pub(crate) fn is_reaped(&self) -> bool {
        named_stat(self.pid, self.started).is_none()
    }
}

/// Something that can be waited for until it is readable.
pub(crate) fn until_readable<T: AsFd + AsRawFd>(of: T) -> io::Result<AsyncFd<T>> {
    #[expect(
        unsafe_code,
        reason = "tokio does not ask for AsFd, which is what makes this sound"
    )]
    // SAFETY: `AsFd` promises that the descriptor stays open for as long as the value lives.
    let registered = unsafe { AsyncFd::register_with_interest(of, Interest::READABLE) };
    Ok(registered?)
}

/// How a process ended, from the status that `wait` gives.
pub(crate) fn exit_of(status: i32) -> Exit {
    if libc::WIFSIGNALED(status) {
        Exit {
            code: None,
            signal: u8::try_from(libc::WTERMSIG(status)).ok(),
        }
    } else {
        Exit {
            code: u8::try_from(libc::WEXITSTATUS(status)).ok(),
            signal: None,
        }
    }
}

/// Waits for one child that is about to end.
pub(crate) fn wait_for(pid: i32) {
    #[expect(unsafe_code, reason = "nix has no way to wait and not to look")]
    // SAFETY: no pointer but null.
    while unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) } == -1
        && Errno::last() == Errno::EINTR
    {}
}

/// Whether a child of ours has ended and was not waited for yet.
fn waits_to_be_reaped(pid: i32) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    let found = waitid(Id::Pid(nix::unistd::Pid::from_raw(pid)), flags);
    !matches!(found, Ok(WaitStatus::StillAlive))
}

fn kill(pid: i32, number: i32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "nix has no names for real-time signals")]
    // SAFETY: numbers only.
    let sent = unsafe { libc::kill(pid, number) };
    if sent == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Programs that run others and do no work of their own: a service manager, and what keeps the namespaces of a pod.
const RUNNERS: [&str; 3] = ["systemd", "init", "pause"];

/// Whose processes /proc shows. In a pid namespace without a mount of its own it shows others under the same numbers, and
/// in another's mount namespace alone (`nsenter -m`) it does not show us at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcShows {
    /// Those of our own pid namespace.
    Ours,
    /// Those of another one.
    Others,
    /// /proc cannot be read.
    Unknown,
}

/// Asked once: neither a namespace nor a mount changes under a running process without its doing.
pub(crate) fn proc_shows() -> ProcShows {
    static SHOWS: LazyLock<ProcShows> = LazyLock::new(|| {
        let me = std::process::id().to_string();
        match std::fs::read_link("/proc/self") {
            Ok(number) if number.as_os_str() != me.as_str() => ProcShows::Others,
            // A process may have the same number in two namespaces.
            Ok(_) if is_from_outside(&text("/proc/self/status").unwrap_or_default()) => {
                ProcShows::Others
            }
            Ok(_) => ProcShows::Ours,
            // Only of a process that is not in its namespace does a mounted /proc know nothing.
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_mounted() => {
                ProcShows::Others
            }
            Err(_) => ProcShows::Unknown,
        }
    });
    *SHOWS
}

/// Whether this status is shown by a namespace around that of its process: it counts the process's numbers from its own
/// inwards (Linux 4.1).
fn is_from_outside(status: &str) -> bool {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    numbers.is_some_and(|numbers| numbers.split_whitespace().count() > 1)
}

fn is_mounted() -> bool {
    rustix::fs::statfs("/proc").is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC)
}

/// The machine's first pid namespace (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: u64 = 4_026_531_836;

/// Whether this process is in the machine's first pid namespace, and not in one around a container.
pub(crate) fn is_of_first_namespace() -> bool {
    pid_namespace() == Some(FIRST_PID_NAMESPACE)
}

/// Whether process 1 can be an agent. The first process of a container often is; a sidecar may share its pid namespace.
pub(crate) fn first_may_be_agent() -> bool {
    let name = command_name(1).unwrap_or_default();
    !is_of_first_namespace() && is_program(&name)
}

fn is_program(first: &str) -> bool {
    !RUNNERS.contains(&first)
}

/// Whether a number in /proc can be taken for a process of ours.
pub(crate) fn proc_is_ours() -> bool {
    proc_shows() != ProcShows::Others
}

/// The content of `/proc/PID/stat`; `None` when there is no such process, or when it may be another's.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    proc_is_ours().then(|| procfs::process::Process::new(pid).ok()?.stat().ok())?
}

/// The same for one that was seen before.
pub(crate) fn named_stat(pid: i32, started: u64) -> Option<Stat> {
    stat(pid).filter(|stat| stat.starttime == started)
}

/// The text of a file of /proc; what is not UTF-8, as a name may be, is replaced. `None` when it cannot be read.
pub(crate) fn text(path: &str) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The words of a process's command line; none of a thread of the kernel.
pub(crate) fn command_line(pid: i32) -> Option<Vec<String>> {
    let line = text(&format!("/proc/{pid}/cmdline"))?;
    let words = line.split('\0').filter(|word| !word.is_empty());
    Some(words.map(str::to_owned).collect())
}

/// The first argument of a process's command line, without its directory.
pub(crate) fn command_name(pid: i32) -> Option<String> {
    let words = command_line(pid)?;
    let name = std::path::Path::new(words.first()?).file_name()?;
    Some(name.to_string_lossy().into_owned())
}

/// Whether it runs hbsidecar: this file, or another build's.
pub(crate) fn is_sidecar(pid: i32) -> bool {
    let program = |of: &str| {
        let found = file::attributes(&format!("/proc/{of}/exe")).ok()?;
        Some((found.device, found.inode))
    };
    let pid = pid.to_string();
    let name = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
    let name = name.as_deref().and_then(std::path::Path::file_name);
    name.is_some_and(|name| name.to_string_lossy().starts_with("hbsidecar"))
        || program(&pid).is_some_and(|found| program("self") == Some(found))
}

/// Whether it is neither a zombie nor about to become one. A process whose first thread has ended while others run is shown
/// as a zombie, with more threads than that one.
pub(crate) fn is_alive(stat: &Stat) -> bool {
    !matches!(stat.state, 'Z' | 'X' | 'x') || stat.num_threads > 1
}

/// This process, as others may see it.
pub(crate) fn myself(host: &str) -> Holder {
    let pid = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    Holder {
        host: host.to_owned(),
        boot: boot.trim().to_owned(),
        pid_namespace: pid_namespace().unwrap_or(0),
        pid,
        started: stat(pid).map_or(0, |stat| stat.starttime),
    }
}

/// Whether /proc can tell here if this holder lives: its process is of our machine and namespace, and so is what is shown.
pub(crate) fn is_shown(holder: &Holder, me: &Holder) -> bool {
    can_show(proc_shows(), holder, me)
}

fn can_show(shows: ProcShows, holder: &Holder, me: &Holder) -> bool {
    shows == ProcShows::Ours && holder.is_visible_to(me)
}

/// Whether this holder is provably dead: /proc would show its process, and does not.
pub(crate) fn is_dead(holder: &Holder, me: &Holder) -> bool {
    is_shown(holder, me) && !lives(holder)
}

fn lives(holder: &Holder) -> bool {
    match stat(holder.pid) {
        Some(stat) => stat.starttime == holder.started && is_alive(&stat),
        // Another user's may be hidden (`hidepid`): then the number is taken all the same.
        None => {
            let refused = kill(holder.pid, 0).err().and_then(|e| e.raw_os_error());
            refused != Some(libc::ESRCH)
        }
    }
}

fn pid_namespace() -> Option<u64> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    link.to_str()?
        .strip_prefix("pid:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::ESRCH)
}

/// `siginfo_t` as the kernel reads it for a queued signal; libc keeps the fields to itself.
#[repr(C)]
struct Queued {
    number: i32,
    errno: i32,
    code: i32,
    _pad: i32,
    pid: i32,
    uid: u32,
    value: u64,
    _rest: [u64; 12],
}

fn send(fd: &OwnedFd, number: i32, value: Option<u64>, flags: libc::c_uint) -> io::Result<()> {
    let info = value.map(|value| Queued {
        number,
        errno: 0,
        code: libc::SI_QUEUE,
        _pad: 0,
        pid: i32::try_from(std::process::id()).unwrap_or(0),
        uid: nix::unistd::getuid().as_raw(),
        value,
        _rest: [0; 12],
    });
    let info = info.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    #[expect(
        unsafe_code,
        reason = "no library sends a value or to a group by descriptor"
    )]
    // SAFETY: the pointer is null or to a local of the size of a siginfo_t, 128 bytes, that outlives the call.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            fd.as_raw_fd(),
            number,
            info,
            flags,
        )
    };
    if sent == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `struct pidfd_info` of Linux 6.15, as far as its first published size goes.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    _who: [u32; 11],
    status: i32,
}

nix::ioctl_readwrite!(pidfd_get_info, 0xFF, 11, PidfdInfo);

fn pidfd_exit(fd: &OwnedFd) -> Option<i32> {
    const PIDFD_INFO_EXIT: u64 = 1 << 3;
    let mut info = PidfdInfo {
        mask: PIDFD_INFO_EXIT,
        ..PidfdInfo::default()
    };
    #[expect(unsafe_code, reason = "no library knows this request yet")]
    // SAFETY: the structure has the size that is part of the request's number.
    let asked = unsafe { pidfd_get_info(fd.as_raw_fd(), &raw mut info) };
    (asked.is_ok() && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn child(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).spawn().unwrap()
    }

    fn pid(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    #[test]
    fn the_exit_of_a_reaped_process_is_remembered_by_its_descriptor() {
        let mut child = child("exec sleep 60");
        let process = Process::open(pid(&child)).unwrap();
        assert_eq!(process.exit(), None);
        child.kill().unwrap();
        child.wait().unwrap();
        // Linux before 6.15 does not remember; then nothing is claimed.
        let remembered = process.exit();
        assert!(
            remembered.is_none_or(|exit| exit
                == Exit {
                    code: None,
                    signal: Some(9)
                }),
            "{remembered:?}"
        );
    }

    #[test]
    fn process_1_may_be_an_agent_unless_it_only_runs_others() {
        assert!(["python3", "docker-init", "sh"].into_iter().all(is_program));
        assert!(!RUNNERS.into_iter().any(is_program));
    }

    #[test]
    fn a_status_with_a_number_further_inside_is_read_from_outside() {
        assert!(is_from_outside("Pid:\t7\nNSpid:\t7\t7\nNSpgid:\t7\t7\n"));
        for own in ["Pid:\t7\nNSpid:\t7\nNSpgid:\t7\n", "Pid:\t7\n", ""] {
            assert!(!is_from_outside(own), "{own}");
        }
        assert!(is_mounted());
        assert_eq!(proc_shows(), ProcShows::Ours);
    }

    #[test]
    fn a_zombie_is_dead() {
        let mut child = child("exit 0");
        let pid = pid(&child);
        while stat(pid).is_some_and(|stat| stat.state != 'Z') {
            std::thread::yield_now();
        }
        assert!(Process::open(pid).is_err());
        child.wait().unwrap();
    }

    #[test]
    fn a_number_that_was_given_away_is_not_the_process() {
        let mut child = child("exec sleep 60");
        let started = Process::open(pid(&child)).unwrap().started;
        assert!(Process::named(pid(&child), started).is_ok());
        assert!(Process::named(pid(&child), started + 1).is_err());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn i_am_not_dead_and_a_process_that_never_was_is() {
        let me = myself("h");
        assert!(!is_dead(&me, &me));
        assert!(is_dead(
            &Holder {
                started: me.started + 1,
                ..me.clone()
            },
            &me
        ));
        assert!(!is_dead(
            &Holder {
                boot: "another".into(),
                started: 1,
                ..me.clone()
            },
            &me
        ));
    }

    #[test]
    fn nobody_is_dead_whom_proc_could_not_show() {
        let me = myself("h");
        assert!(can_show(ProcShows::Ours, &me, &me));
        for foreign in [ProcShows::Others, ProcShows::Unknown] {
            assert!(!can_show(foreign, &me, &me), "{foreign:?}");
        }
        let nowhere = Holder {
            pid_namespace: 0,
            started: me.started + 1,
            ..me
        };
        assert!(!is_dead(&nowhere, &nowhere));
    }
}
