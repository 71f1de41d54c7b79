//! What /proc shows of a tree at one moment. It uses nothing of the sidecar: it checks the programs that check the sidecar.

use crate::leftovers::pids;
use nix::libc;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{read_link, read_to_string};
use std::process::Command;

/// A root, its descendants, and the other processes that were asked for.
pub(crate) struct Look {
    pub(crate) root: i32,
    pub(crate) processes: BTreeMap<i32, Process>,
    /// Bytes received, by socket inode.
    received: BTreeMap<u64, u64>,
    /// The other end of each connected Unix socket, by inode.
    paired: BTreeMap<u64, u64>,
}

#[derive(Default)]
pub(crate) struct Process {
    pub(crate) parent: i32,
    pub(crate) name: String,
    pub(crate) state: char,
    pub(crate) tracer: i32,
    pub(crate) ignores_term: bool,
    pub(crate) threads: Vec<Thread>,
    pub(crate) descriptors: BTreeMap<u64, String>,
    pub(crate) sockets: Vec<Tcp>,
    pub(crate) memory_kb: u64,
    read: u64,
    written: u64,
}

pub(crate) struct Thread {
    pub(crate) tid: i32,
    pub(crate) main: bool,
    /// Number and arguments; none while it runs.
    pub(crate) call: Option<(i64, [u64; 6])>,
    cpu_ns: u64,
    waited_ns: u64,
    switches: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Tcp {
    pub(crate) state: &'static str,
    pub(crate) unread: u64,
}

/// The tree under `root`, and `others`.
pub(crate) fn look(root: i32, others: &[i32]) -> Look {
    let parents: BTreeMap<i32, i32> = pids().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let under = |pid: i32| {
        let mut at = pid;
        while at != root && at > 1 {
            at = parents.get(&at).copied().unwrap_or(0);
        }
        at == root
    };
    let chosen = parents
        .keys()
        .copied()
        .filter(|pid| under(*pid) || others.contains(pid));
    // Who was listed was there, though it may end before more of it is read: a compiler does on a busy machine.
    let listed = |pid: i32| Process {
        parent: parents.get(&pid).copied().unwrap_or(0),
        ..Process::default()
    };
    let processes = chosen
        .map(|pid| (pid, process(pid).unwrap_or_else(|| listed(pid))))
        .collect();
    Look {
        root,
        processes,
        received: received(root),
        paired: paired(root),
    }
}

impl Look {
    /// Whether one holds an end of what the other holds: a pipe, or a socket pair, which is what node makes of one.
    pub(crate) fn share_a_pipe(&self, one: &Process, other: &Process) -> bool {
        // What the starter of the tests left open in every process is no evidence.
        let everyones = links(std::os::unix::process::parent_id());
        let pipe =
            |link: &&String| link.starts_with("pipe:") && !everyones.values().any(|l| l == *link);
        let pipes = one.descriptors.values().filter(pipe).cloned();
        let sockets = one
            .descriptors
            .values()
            .filter(|link| link.starts_with("socket:"));
        let ends = sockets
            .filter_map(|link| self.paired.get(&inode(link)?))
            .map(|end| format!("socket:[{end}]"));
        let ends: BTreeSet<String> = pipes.chain(ends).collect();
        other.descriptors.values().any(|link| ends.contains(link))
    }

    pub(crate) fn descendants(&self, name: Option<&str>) -> Vec<i32> {
        let related = |pid: &i32| *pid != self.root && self.in_tree(*pid);
        let named = |p: &Process| name.is_none_or(|name| p.name.starts_with(name));
        let found = self
            .processes
            .iter()
            .filter(|(pid, p)| related(pid) && named(p));
        found.map(|(pid, _)| *pid).collect()
    }

    pub(crate) fn in_tree(&self, pid: i32) -> bool {
        let mut at = pid;
        while at != self.root {
            match self.processes.get(&at) {
                Some(process) => at = process.parent,
                None => return false,
            }
        }
        true
    }

    /// A counter of one process, or of the whole tree for its root.
    pub(crate) fn counter(&self, name: &str, pid: i32) -> BTreeSet<(i32, u64)> {
        let of_tree = pid == self.root;
        let chosen = self.processes.iter().filter(|(p, _)| {
            if of_tree {
                self.in_tree(**p)
            } else {
                **p == pid
            }
        });
        chosen
            .map(|(pid, process)| (*pid, self.count(name, process)))
            .collect()
    }

    fn count(&self, name: &str, process: &Process) -> u64 {
        match name {
            "cpu" => process.threads.iter().map(|t| t.cpu_ns).sum(),
            "waited" => process.threads.iter().map(|t| t.waited_ns).sum(),
            "switches" => process.threads.iter().map(|t| t.switches).sum(),
            "read" => process.read,
            "written" => process.written,
            "memory" => process.memory_kb,
            "received" => process
                .descriptors
                .values()
                .filter_map(|link| self.received.get(&inode(link)?))
                .sum(),
            "pids" => 0,
            other => panic!("no counter {other}"),
        }
    }
}

/// Whether the call is of that name or family. Families hide what differs between processors and C libraries.
pub(crate) fn is_call(number: i64, name: &str) -> bool {
    let family: &[i64] = match name {
        "read" => &[libc::SYS_read, libc::SYS_readv],
        "write" => &[libc::SYS_write, libc::SYS_writev],
        "recvfrom" => &[libc::SYS_recvfrom, libc::SYS_recvmsg],
        "connect" => &[libc::SYS_connect],
        "futex" => &[libc::SYS_futex],
        "wait4" => &[libc::SYS_wait4, libc::SYS_waitid],
        "flock" => &[libc::SYS_flock],
        "fcntl" => &[libc::SYS_fcntl],
        "accept" => &[libc::SYS_accept, libc::SYS_accept4],
        "pause" => &[PAUSE, libc::SYS_rt_sigsuspend],
        "sleep" => &[
            libc::SYS_nanosleep,
            libc::SYS_clock_nanosleep,
            libc::SYS_pselect6,
            SELECT,
        ],
        "select" => &[libc::SYS_pselect6, SELECT],
        "poll" => &[libc::SYS_ppoll, POLL],
        "epoll" => &[libc::SYS_epoll_pwait, EPOLL],
        other => panic!("no call {other}"),
    };
    family.contains(&number)
}

#[cfg(target_arch = "x86_64")]
const PAUSE: i64 = libc::SYS_pause;
#[cfg(target_arch = "x86_64")]
const POLL: i64 = libc::SYS_poll;
#[cfg(target_arch = "x86_64")]
const SELECT: i64 = libc::SYS_select;
#[cfg(target_arch = "x86_64")]
const EPOLL: i64 = libc::SYS_epoll_wait;
#[cfg(not(target_arch = "x86_64"))]
const PAUSE: i64 = libc::SYS_rt_sigsuspend;
#[cfg(not(target_arch = "x86_64"))]
const POLL: i64 = libc::SYS_ppoll;
#[cfg(not(target_arch = "x86_64"))]
const SELECT: i64 = libc::SYS_pselect6;
#[cfg(not(target_arch = "x86_64"))]
const EPOLL: i64 = libc::SYS_epoll_pwait;

/// Seconds until a waiting call gives up as its arguments say, none for never. Absolute times count from now.
pub(crate) fn deadline(pid: i32, call: &(i64, [u64; 6])) -> Option<f64> {
    let (number, args) = call;
    let milliseconds = |ms: u64| {
        u32::try_from(ms & 0xffff_ffff)
            .ok()
            .filter(|ms| i32::try_from(*ms).is_ok())
    };
    if is_call(*number, "epoll") {
        return milliseconds(args[3]).map(|ms| f64::from(ms) / 1000.0);
    }
    let [at, absolute] = if is_call(*number, "futex") {
        [
            args[3],
            u64::from(args[1] & 0x7f == libc::FUTEX_WAIT_BITSET as u64),
        ]
    } else if *number == libc::SYS_clock_nanosleep {
        [args[2], args[1] & 1]
    } else if *number == libc::SYS_nanosleep {
        [args[0], 0]
    } else {
        panic!("no deadline in call {number}");
    };
    let seconds = timespec(pid, at)?;
    let monotonic = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    Some(if absolute == 1 {
        seconds - monotonic.tv_sec() as f64
    } else {
        seconds
    })
}

fn timespec(pid: i32, at: u64) -> Option<f64> {
    use std::os::unix::fs::FileExt;
    let mut raw = [0; 16];
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).ok()?;
    (at != 0)
        .then(|| memory.read_exact_at(&mut raw, at).ok())
        .flatten()?;
    let [seconds, nanos] =
        [&raw[..8], &raw[8..]].map(|b| i64::from_ne_bytes(b.try_into().unwrap()));
    Some(seconds as f64 + nanos as f64 / 1e9)
}

/// The inode in a link like `socket:[123]`.
pub(crate) fn inode(link: &str) -> Option<u64> {
    link.split_once('[')?.1.strip_suffix(']')?.parse().ok()
}

fn parent(pid: i32) -> Option<i32> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split(' ').nth(2)?.parse().ok()
}

fn process(pid: i32) -> Option<Process> {
    let dir = format!("/proc/{pid}");
    let status = read_to_string(format!("{dir}/status")).ok()?;
    let io = read_to_string(format!("{dir}/io")).unwrap_or_default();
    let ignored = u64::from_str_radix(field(&status, "SigIgn:")?, 16).ok()?;
    let mut process = Process {
        parent: number(&status, "PPid:") as i32,
        name: field(&status, "Name:")?.to_owned(),
        state: field(&status, "State:")?.chars().next()?,
        tracer: number(&status, "TracerPid:") as i32,
        ignores_term: ignored >> (libc::SIGTERM - 1) & 1 == 1,
        memory_kb: number(&status, "VmRSS:"),
        read: number(&io, "rchar:"),
        written: number(&io, "wchar:"),
        ..Process::default()
    };
    for entry in std::fs::read_dir(format!("{dir}/task")).ok()?.flatten() {
        let tid = entry.file_name().to_str()?.parse().ok()?;
        process.threads.extend(thread(pid, tid));
    }
    process.threads.sort_by_key(|thread| thread.tid);
    process.descriptors = links(pid.unsigned_abs());
    process.sockets = tcp(pid, &process.descriptors);
    Some(process)
}

fn links(pid: u32) -> BTreeMap<u64, String> {
    let dir = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let entries = dir.into_iter().flatten().flatten();
    let link = |entry: std::fs::DirEntry| {
        let fd = entry.file_name().to_str()?.parse().ok()?;
        let link = read_link(entry.path()).unwrap_or_default();
        Some((fd, link.display().to_string()))
    };
    entries.filter_map(link).collect()
}

fn thread(pid: i32, tid: i32) -> Option<Thread> {
    let dir = format!("/proc/{pid}/task/{tid}");
    let status = read_to_string(format!("{dir}/status")).ok()?;
    let schedstat = read_to_string(format!("{dir}/schedstat")).ok()?;
    let mut times = schedstat.split(' ').map(|n| n.trim().parse().unwrap_or(0));
    let syscall = read_to_string(format!("{dir}/syscall")).unwrap_or_default();
    let mut words = syscall.split_whitespace();
    let call = words
        .next()
        .and_then(|n| n.parse().ok())
        .filter(|n| *n >= 0)
        .map(|n| {
            let mut args = [0; 6];
            for (arg, word) in args.iter_mut().zip(words) {
                *arg = u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap_or(0);
            }
            (n, args)
        });
    Some(Thread {
        tid,
        main: pid == tid,
        call,
        cpu_ns: times.next()?,
        waited_ns: times.next()?,
        switches: number(&status, "voluntary_ctxt_switches:"),
    })
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

fn number(text: &str, name: &str) -> u64 {
    let first = field(text, name).and_then(|value| value.split(' ').next()?.parse().ok());
    first.unwrap_or(0)
}

/// Its own TCP sockets, from the tables of its network namespace.
fn tcp(pid: i32, descriptors: &BTreeMap<u64, String>) -> Vec<Tcp> {
    const STATES: [&str; 12] = [
        "?",
        "ESTABLISHED",
        "SYN_SENT",
        "SYN_RECV",
        "FIN_WAIT1",
        "FIN_WAIT2",
        "TIME_WAIT",
        "CLOSE",
        "CLOSE_WAIT",
        "LAST_ACK",
        "LISTEN",
        "CLOSING",
    ];
    let own: BTreeSet<u64> = descriptors
        .values()
        .filter_map(|link| inode(link))
        .collect();
    let tables =
        ["tcp", "tcp6"].map(|t| read_to_string(format!("/proc/{pid}/net/{t}")).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let socket = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let state = usize::from_str_radix(words.get(3)?, 16).ok()?;
        let unread = u64::from_str_radix(words.get(4)?.split_once(':')?.1, 16).ok()?;
        let inode: u64 = words.get(9)?.parse().ok()?;
        own.contains(&inode).then(|| Tcp {
            state: STATES.get(state).unwrap_or(&"?"),
            unread,
        })
    };
    lines.filter_map(socket).collect()
}

/// Bytes received by each TCP socket of the namespace `pid` lives in.
fn received(pid: i32) -> BTreeMap<u64, u64> {
    let word = |line: &str, name: &str| -> Option<u64> {
        line.split_whitespace()
            .find_map(|w| w.strip_prefix(name))?
            .parse()
            .ok()
    };
    let received = |line: &str| {
        Some((
            word(line, "ino:")?,
            word(line, "bytes_received:").unwrap_or(0),
        ))
    };
    ss(pid, "-tineHO").lines().filter_map(received).collect()
}

fn paired(pid: i32) -> BTreeMap<u64, u64> {
    let pair = |line: &str| {
        let mut numbers = line.split_whitespace().skip(5).step_by(2).map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    ss(pid, "-xnH").lines().filter_map(pair).collect()
}

/// `ss` in the network namespace of `pid`.
fn ss(pid: i32, flags: &str) -> String {
    let net = format!("--net=/proc/{pid}/ns/net");
    let asked = Command::new("nsenter").args([&net, "ss", flags]).output();
    String::from_utf8_lossy(&asked.unwrap().stdout).into_owned()
}
