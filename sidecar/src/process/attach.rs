//! Finding a running process to watch: by number, or by its command line.

mod pods;
mod programs;

use crate::config::Target;
use crate::process::handle::{self, Process, is_alive};
pub(crate) use programs::Programs;
use regex_lite::Regex;
use std::os::unix::fs::MetadataExt;

/// Candidates that are named in a refusal.
const NAMED_MAX: usize = 8;
/// The longest command line that is matched, in bytes.
const COMMAND_BYTES_MAX: usize = 64 * 1024;

/// Why there is no process to attach to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    /// No such number.
    #[error("there is no process {0}; see `ps -e`")]
    Gone(i32),
    /// hbsidecar does not attach to itself.
    #[error("process {0} is this hbsidecar; give the agent's process id")]
    Myself(i32),
    /// Not a program.
    #[error("process {0} is a kernel thread, not an agent")]
    Kernel(i32),
    /// Its /proc cannot be read, it cannot be signalled.
    #[error(
        "process {pid} belongs to user {owner}, hbsidecar runs as {me}; run it as that user or as root, in a pod give both \
         containers the same runAsUser"
    )]
    Foreign { pid: i32, owner: u32, me: u32 },
    /// The kernel has no descriptors for processes, or a filter of system calls forbids them. A process that is not a child
    /// has no other safe name.
    #[error(
        "cannot attach to process {0}: {1} (pidfd_open); a seccomp profile must allow pidfd_open and pidfd_send_signal, as \
         RuntimeDefault does"
    )]
    NoDescriptor(i32, std::io::Error),
    /// The kernel refuses.
    #[error("cannot attach to process {0}: {1}")]
    Refused(i32, std::io::Error),
    /// No process matches yet.
    #[error("no command line matches yet")]
    NoMatch,
    /// The first process of a pid namespace sees only what it starts itself.
    #[error(
        "no process but hbsidecar's own is visible; add `shareProcessNamespace: true` to the pod's spec, with Docker use \
         --pid container:NAME"
    )]
    Alone,
    /// Several match and none is above all others.
    #[error("{count} processes match: {named}; make the expression match one, or use --pid")]
    Ambiguous { count: usize, named: String },
    /// The agent has ended, and what matches is not its next incarnation.
    #[error(
        "process {0} matches and runs another program than the agent did, so it is not taken for the agent; start the agent again, or \
         hbsidecar with --pid"
    )]
    OtherProgram(String),
}

impl AttachError {
    /// Whether another process may yet come that fits.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::NoMatch | Self::Alone => true,
            Self::Gone(_)
            | Self::Myself(_)
            | Self::Kernel(_)
            | Self::Foreign { .. }
            | Self::NoDescriptor(..)
            | Self::Refused(..)
            | Self::Ambiguous { .. }
            | Self::OtherProgram(_) => false,
        }
    }

    /// What keeps a process that is waited for from being found, unless it is simply not there yet.
    pub(crate) fn obstacle(&self) -> Option<String> {
        match self {
            Self::NoMatch | Self::Gone(_) => None,
            Self::Alone
            | Self::Myself(_)
            | Self::Kernel(_)
            | Self::Foreign { .. }
            | Self::NoDescriptor(..)
            | Self::Refused(..)
            | Self::Ambiguous { .. }
            | Self::OtherProgram(_) => Some(self.to_string()),
        }
    }
}

/// The process, held by its descriptor: what matches, and runs a program that the agent ran, where one was seen.
pub(crate) fn find(target: &Target, programs: &Programs) -> Result<Process, AttachError> {
    match target {
        Target::Pid(pid) => open(*pid),
        Target::Match(regex) => {
            let (agents, others): (Vec<_>, Vec<_>) = matching(regex)
                .into_iter()
                .partition(|candidate| programs.may_run_in(candidate.pid));
            match others.first().filter(|_| agents.is_empty()) {
                Some(other) => Err(AttachError::OtherProgram(other.to_string())),
                None => open(the_one(&agents)?),
            }
        }
    }
}

fn open(pid: i32) -> Result<Process, AttachError> {
    let me = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    if pid == me {
        return Err(AttachError::Myself(pid));
    }
    let stat = handle::stat(pid)
        .filter(is_alive)
        .ok_or(AttachError::Gone(pid))?;
    if stat.flags & KERNEL_THREAD != 0 {
        return Err(AttachError::Kernel(pid));
    }
    let owner = std::fs::metadata(format!("/proc/{pid}")).map_or(0, |meta| meta.uid());
    let mine = nix::unistd::geteuid().as_raw();
    if mine != 0 && owner != mine {
        return Err(AttachError::Foreign {
            pid,
            owner,
            me: mine,
        });
    }
    Process::open(pid).map_err(|error| match error.raw_os_error() {
        Some(nix::libc::ESRCH) => AttachError::Gone(pid),
        Some(nix::libc::EPERM | nix::libc::ENOSYS) => AttachError::NoDescriptor(pid, error),
        _ => AttachError::Refused(pid, error),
    })
}

/// What hbsidecar cannot do with a process that it watches, with the remedies.
pub(crate) fn lacks(process: &Process) -> impl Iterator<Item = String> {
    [hidden(process.pid), unsignalled(process)]
        .into_iter()
        .flatten()
}

/// Root without capabilities is another user to it.
fn hidden(pid: i32) -> Option<String> {
    let refused = std::fs::read_dir(format!("/proc/{pid}/fd")).err()?;
    if refused.kind() != std::io::ErrorKind::PermissionDenied {
        return None;
    }
    let owner = std::fs::metadata(format!("/proc/{pid}")).map_or(0, |meta| meta.uid());
    Some(format!(
        "process {pid} of user {owner} hides its files and memory from hbsidecar, so no verdict on its work is possible; run \
         hbsidecar as the same user (in a pod: the same runAsUser) or with the capability SYS_PTRACE"
    ))
}

/// The signal 0 is a question.
fn unsignalled(process: &Process) -> Option<String> {
    let error = process.signal(0).err()?;
    let refused = matches!(
        error.raw_os_error(),
        Some(nix::libc::EPERM | nix::libc::ENOSYS)
    );
    refused.then(|| {
        format!(
            "process {} cannot be sent a signal ({error}), so hbsidecar neither stops nor restarts it; a seccomp profile must \
             allow pidfd_send_signal, for a process of another user hbsidecar needs the capability KILL",
            process.pid
        )
    })
}

/// `PF_KTHREAD`: the flag of a thread of the kernel. In a container process 2 is an ordinary one.
const KERNEL_THREAD: u32 = 0x0020_0000;

#[derive(Clone, Debug)]
struct Candidate {
    pid: i32,
    parent: i32,
    command: String,
}

/// Living processes whose command line matches, without ourselves, those that started us, those of other pods, and other
/// sidecars: the expression stands on their command lines too.
fn matching(regex: &Regex) -> Vec<Candidate> {
    let above = ancestors();
    let groups = |pid: &str| handle::text(&format!("/proc/{pid}/cgroup"));
    let own = groups("self").unwrap_or_default();
    let processes = procfs::process::all_processes()
        .into_iter()
        .flatten()
        .flatten();
    processes
        .filter(|process| !above.contains(&process.pid))
        .filter_map(|process| {
            let words = handle::command_line(process.pid).filter(|words| !words.is_empty())?;
            let mut command = words.join(" ");
            command.truncate(command.floor_char_boundary(COMMAND_BYTES_MAX));
            let stat = process.stat().ok().filter(is_alive)?;
            if !regex.is_match(&command) || handle::is_sidecar(process.pid) {
                return None;
            }
            let its = groups(&process.pid.to_string()).unwrap_or_default();
            (!pods::is_of_another_pod(&own, &its)).then_some(Candidate {
                pid: process.pid,
                parent: stat.ppid,
                command,
            })
        })
        .collect()
}

impl std::fmt::Display for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.pid, shown(&self.command))
    }
}

/// A command line as it may be shown: what another program put into it is not sent to a terminal.
fn shown(command: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    heartbeat::wire::beat::cut(command.chars().map(plain).collect(), 60)
}

/// The only candidate, or the one that started all the others.
fn the_one(candidates: &[Candidate]) -> Result<i32, AttachError> {
    let tops: Vec<&Candidate> = candidates
        .iter()
        .filter(|c| !candidates.iter().any(|other| other.pid == c.parent))
        .collect();
    match tops.as_slice() {
        // In a container of its own nothing will ever match.
        [] if std::process::id() == 1 => Err(AttachError::Alone),
        [] => Err(AttachError::NoMatch),
        [only] => Ok(only.pid),
        _ => {
            let named = tops.iter().take(NAMED_MAX);
            let named: Vec<String> = named.map(|candidate| candidate.to_string()).collect();
            Err(AttachError::Ambiguous {
                count: tops.len(),
                named: named.join("; "),
            })
        }
    }
}

/// Ourselves and those that started us.
fn ancestors() -> Vec<i32> {
    let mut found = Vec::new();
    let mut pid = i32::try_from(std::process::id()).unwrap_or(0);
    while pid > 0 && !found.contains(&pid) {
        found.push(pid);
        pid = handle::stat(pid).map_or(0, |stat| stat.ppid);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(pid: i32, parent: i32) -> Candidate {
        Candidate {
            pid,
            parent,
            command: format!("agent {pid}"),
        }
    }

    #[test]
    fn an_agent_and_the_workers_it_forked_are_one_candidate() {
        assert_eq!(
            the_one(&[candidate(10, 1), candidate(11, 10), candidate(12, 11)]).unwrap(),
            10
        );
    }

    #[test]
    fn two_agents_are_refused_with_their_names() {
        let error = the_one(&[candidate(10, 1), candidate(20, 1)]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("10 agent 10") && text.contains("20 agent 20"),
            "{text}"
        );
        assert!(!error.may_pass());
    }

    #[test]
    fn nobody_is_attached_to_itself_to_the_kernel_or_to_nobody() {
        let me = i32::try_from(std::process::id()).unwrap();
        assert!(matches!(open(me), Err(AttachError::Myself(_))));
        assert!(matches!(
            open(2),
            Err(AttachError::Kernel(_) | AttachError::Gone(_))
        ));
        assert!(matches!(open(i32::MAX), Err(AttachError::Gone(_))));
    }

    #[test]
    fn a_process_is_found_by_its_command_line_and_we_are_not() {
        use std::os::unix::ffi::OsStrExt;
        let mark = format!("hb-attach-{}", std::process::id());
        let mut agent = std::process::Command::new("sh")
            .args(["-c", "read x", &mark])
            .arg(std::ffi::OsStr::from_bytes(b"a name in Latin-1: caf\xe9"))
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let regex = Regex::new(&mark).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let found = loop {
            match find(&Target::Match(regex.clone()), &Programs::default()) {
                Err(AttachError::NoMatch) if std::time::Instant::now() < deadline => {
                    std::thread::yield_now();
                }
                found => break found,
            }
        };
        agent.kill().unwrap();
        agent.wait().unwrap();
        assert_eq!(found.unwrap().pid, i32::try_from(agent.id()).unwrap());
    }
}
