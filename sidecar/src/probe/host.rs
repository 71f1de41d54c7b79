//! The machine: pressure, sleep, frozen control groups, file locks.

use super::read::{Reader, TEXT_BYTES_MAX};
use heartbeat::verdict::sample::{FileLock, Host, Why};
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most lines of the machine's lock table that are read.
const LOCKS_MAX: usize = 4096;

/// Pressure and sleep.
pub(super) fn host(reader: &mut Reader) -> Host {
    let mut average = |path: &str, kind: &str| {
        let text = reader.text(path).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        line.split_whitespace()
            .find_map(|word| word.strip_prefix("avg10="))?
            .parse()
            .ok()
    };
    Host {
        cpu_some: average("/proc/pressure/cpu", "some"),
        memory_full: average("/proc/pressure/memory", "full"),
        suspended: since_boot(ClockId::Boottime).saturating_sub(since_boot(ClockId::Monotonic)),
        alarms: None,
    }
}

fn since_boot(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Answers whether a process's control group is frozen; each group is read once per sample.
#[derive(Debug, Default)]
pub(super) struct Freezer {
    asked: BTreeMap<String, bool>,
}

impl Freezer {
    /// Of either version. A group whose files are not visible here counts as running.
    pub(super) fn is_frozen(&mut self, reader: &mut Reader, pid: u32) -> bool {
        let Ok(groups) = reader.text(&format!("/proc/{pid}/cgroup")) else {
            return false;
        };
        let files: Vec<String> = groups.lines().flat_map(state_files).collect();
        files.into_iter().any(|file| {
            *self
                .asked
                .entry(file)
                .or_insert_with_key(|file| reader.text(file).is_ok_and(|text| says_frozen(&text)))
        })
    }
}

/// `0::/path` is version 2, `6:freezer:/path` version 1.
fn state_files(line: &str) -> Vec<String> {
    let parts: Vec<&str> = line.splitn(3, ':').collect();
    let [_, controllers, path] = parts[..] else {
        return Vec::new();
    };
    // The root cannot be frozen.
    if path == "/" || path.contains("..") {
        Vec::new()
    } else if controllers.is_empty() {
        // Beside groups of version 1 those of version 2 have a place of their own.
        ["", "/unified"]
            .map(|place| format!("/sys/fs/cgroup{place}{path}/cgroup.events"))
            .into()
    } else if controllers.split(',').any(|c| c == "freezer") {
        vec![format!("/sys/fs/cgroup/freezer{path}/freezer.state")]
    } else {
        Vec::new()
    }
}

fn says_frozen(text: &str) -> bool {
    text.lines()
        .any(|line| matches!(line.trim(), "frozen 1" | "FROZEN" | "FREEZING"))
}

/// A line of `/proc/locks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LockLine {
    /// Ties a waiter to the lock it waits for.
    pub(super) id: u32,
    pub(super) waits: bool,
    pub(super) exclusive: bool,
    /// It belongs to a process and not to an open file that several processes may share.
    pub(super) of_process: bool,
    pub(super) pid: Option<u32>,
    /// Major and minor number of the device, inode.
    pub(super) file: (u32, u32, u64),
}

/// Whether any process of the machine has asked for asynchronous reads or writes, whose end the kernel may report to an
/// eventfd.
pub(super) fn has_async_io(reader: &mut Reader) -> bool {
    let count = reader.text("/proc/sys/fs/aio-nr");
    !count.is_ok_and(|text| text.trim() == "0")
}

/// Whether an interval timer of some process runs; only root may read that.
pub(super) fn alarms(reader: &mut Reader) -> Option<bool> {
    let text = reader.text("/proc/timer_list").ok()?;
    // A list that was cut off may have missed it.
    let whole = text.len() < TEXT_BYTES_MAX;
    let found = text.contains(" it_real_fn,");
    (found || whole).then_some(found)
}

/// The machine's locks.
pub(super) fn locks(reader: &mut Reader) -> Vec<LockLine> {
    let Ok(text) = reader.text("/proc/locks") else {
        return Vec::new();
    };
    text.lines().take(LOCKS_MAX).filter_map(lock_line).collect()
}

/// The machine's locks, every one of them.
pub(super) fn all_locks(reader: &mut Reader) -> Result<Vec<LockLine>, Why> {
    let text = reader.text("/proc/locks")?;
    if text.len() >= TEXT_BYTES_MAX || text.lines().count() > LOCKS_MAX {
        return Err(Why::TooMany);
    }
    let lines = text.lines().map(lock_line);
    lines.collect::<Option<_>>().ok_or(Why::Malformed)
}

/// Whether this descriptor is one of those that hold this lock of an open file.
pub(super) fn holds(reader: &mut Reader, through: u32, fd: i32, lock: &LockLine) -> bool {
    let info = reader.text(&format!("/proc/{through}/fdinfo/{fd}"));
    let info = info.unwrap_or_default();
    let mut locks = info.lines().filter_map(|line| line.strip_prefix("lock:"));
    locks.any(|line| {
        lock_line(line)
            .is_some_and(|held| !held.waits && !held.of_process && held.file == lock.file)
    })
}

/// `1: -> POSIX  ADVISORY  WRITE 1234 08:01:42 0 EOF`
fn lock_line(line: &str) -> Option<LockLine> {
    let mut words = line.split_whitespace().peekable();
    let id = words.next()?.strip_suffix(':')?.parse().ok()?;
    let waits = words.next_if_eq(&"->").is_some();
    let of_process = words.next()? == "POSIX";
    words.next()?;
    let exclusive = words.next()? == "WRITE";
    let pid = words.next()?.parse::<i64>().ok()?;
    let mut file = words.next()?.split(':');
    let mut device = || u32::from_str_radix(file.next()?, 16).ok();
    let (major, minor) = (device()?, device()?);
    let inode = file.next()?.parse().ok()?;
    Some(LockLine {
        id,
        waits,
        exclusive,
        of_process,
        pid: u32::try_from(pid).ok().filter(|pid| *pid != 0),
        file: (major, minor, inode),
    })
}

/// Locks that others hold on these files, and who waits for them.
pub(super) fn locks_on(
    lines: &[LockLine],
    files: &[(u32, (u32, u32, u64), String)],
    tree: &[u32],
) -> Vec<FileLock> {
    let mut found: Vec<FileLock> = Vec::new();
    for line in lines.iter().filter(|line| !line.waits) {
        let foreign = line.pid.is_none_or(|pid| !tree.contains(&pid));
        let waiter = lines
            .iter()
            .find(|l| l.waits && l.id == line.id && l.pid.is_some_and(|p| tree.contains(&p)));
        let Some((_, _, path)) = files.iter().find(|(_, file, _)| *file == line.file) else {
            continue;
        };
        if foreign || waiter.is_some() {
            found.push(FileLock {
                holder: line.pid,
                name: String::new(),
                path: path.clone(),
                exclusive: line.exclusive,
                waiter: waiter.and_then(|l| l.pid),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_belongs_to_the_lock_it_waits_for() {
        let lines: Vec<LockLine> = [
            "1: FLOCK  ADVISORY  WRITE 10 08:01:42 0 EOF",
            "1: -> FLOCK  ADVISORY  WRITE 20 08:01:42 0 EOF",
            "2: POSIX  ADVISORY  READ 11 08:01:43 0 EOF",
            "3: OFDLCK ADVISORY  WRITE -1 08:01:44 0 EOF",
            "garbage",
        ]
        .iter()
        .filter_map(|l| lock_line(l))
        .collect();
        assert_eq!(lines.len(), 4);
        let files = [
            (20, (8, 1, 42), "/x".to_owned()),
            (20, (8, 1, 44), "/y".to_owned()),
        ];
        let found = locks_on(&lines, &files, &[20]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[0].holder, found[0].waiter), (Some(10), Some(20)));
        assert_eq!((found[1].holder, found[1].waiter), (None, None));
    }

    #[test]
    fn both_versions_of_control_groups_tell_that_they_are_frozen() {
        assert_eq!(
            state_files("0::/a/b"),
            [
                "/sys/fs/cgroup/a/b/cgroup.events",
                "/sys/fs/cgroup/unified/a/b/cgroup.events"
            ]
        );
        assert_eq!(
            state_files("6:freezer:/a"),
            ["/sys/fs/cgroup/freezer/a/freezer.state"]
        );
        for none in ["0::/", "4:memory:/a", "0::/../a", "garbage"] {
            assert!(state_files(none).is_empty(), "{none}");
        }
        assert!(says_frozen("populated 1\nfrozen 1\n") && says_frozen("FROZEN\n"));
        assert!(!says_frozen("populated 1\nfrozen 0\n") && !says_frozen("THAWED\n"));
    }
}
