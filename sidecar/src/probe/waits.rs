//! What a thread waits for: its system call, the descriptors in it, its own time limit; and what exactly it passed to the
//! kernel, for the question what could end the wait.

use super::calls::{self, Call};
use super::descriptors::Descriptors;
use super::memory::{From, Memory, Unit, milliseconds};
use super::read::Reader;
use heartbeat::verdict::sample::{Kind, Target, Until, Wait, Why};
use std::time::Duration;

/// The most descriptors of one `poll`, `select` or `epoll` that are read.
const TARGETS_MAX: usize = 256;
/// The most descriptors that the sets of a `select` hold, as the C library has them.
const SELECT_MAX: usize = 1024;
const FUTEX_PRIVATE: u64 = 128;
const FUTEX_REALTIME: u64 = 256;
/// In the newer futex calls.
const FUTEX2_PRIVATE: u64 = 128;
const TIMER_ABSOLUTE: u64 = 1;
/// A mutex of the C library that a thread waits for.
const MUTEX_CONTENDED: u32 = 2;
/// The owner's number in the word of a priority-inheriting mutex.
const PI_OWNER: u32 = 0x3fff_ffff;
const POLL_IN_OR_OUT: u16 = 0x1 | 0x4;
const EPOLL_IN_OR_OUT: u64 = 0x1 | 0x4;
const IN: u64 = 0x1;
const OUT: u64 = 0x4;
/// Edge-triggered: such a loop asks for both events from the start and waits for neither.
const EPOLL_CHANGES: u64 = 1 << 31;

/// What a thread passed to the kernel, without interpretation. Nothing that the kernel would wake it for is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Not known, or a call whose objects are not known.
    Unknown(Why),
    /// No object: only time and signals.
    Nothing,
    /// These descriptors.
    Descriptors {
        /// Their numbers.
        fds: Vec<i32>,
        /// The call itself moves the data, so that a time limit of the object applies.
        direct: bool,
    },
    /// What this epoll descriptor watches.
    Epoll(i32),
    /// A word in memory.
    Futex { address: u64, private: bool },
    /// Children, as `waitpid` names them.
    Children(i32),
    /// A lock on the file of a descriptor.
    Lock(i32),
}

/// Number and arguments of a system call.
pub(super) type Numbers = [u64; 7];

/// The system call of a thread; none when it is in none.
pub(super) fn call(reader: &mut Reader, pid: u32, tid: u32) -> Result<Option<Numbers>, Why> {
    let text = reader.text(&format!("/proc/{pid}/task/{tid}/syscall"))?;
    if text.starts_with("running") || text.starts_with('-') {
        return Ok(None);
    }
    parse(&text).map(Some).ok_or(Why::Malformed)
}

/// The address of a futex that other processes may share, in a call without a time limit.
pub(super) fn shared_futex([number, a @ ..]: &Numbers) -> Option<u64> {
    let waits = matches!(calls::call(*number), Call::Futex) && a[1] & FUTEX_PRIVATE == 0;
    (waits && a[3] == 0).then_some(a[0])
}

/// The time left of a timer descriptor, from its `fdinfo`; none when it is not armed.
fn time_left(info: &str) -> Option<Duration> {
    let value = info
        .lines()
        .find_map(|line| line.strip_prefix("it_value:"))?;
    let numbers = value.trim().strip_prefix('(')?.strip_suffix(')')?;
    let (seconds, nanos) = numbers.split_once(',')?;
    let left = Duration::new(seconds.trim().parse().ok()?, nanos.trim().parse().ok()?);
    Some(left).filter(|left| !left.is_zero())
}

/// Reads the waits of one process's threads.
pub(super) struct Waits<'a> {
    pub(super) reader: &'a mut Reader,
    pub(super) memory: Memory,
    pub(super) descriptors: &'a Descriptors,
    pub(super) pid: u32,
}

impl Waits<'_> {
    /// What a thread in this system call waits for, and what it passed to the kernel.
    pub(super) fn of(&mut self, call: Result<Option<Numbers>, Why>) -> (Wait, Asked) {
        match call {
            Ok(Some([number, arguments @ ..])) => {
                let wait = self.decode(number, arguments);
                let asked = self.asked(number, arguments, &wait);
                (wait, asked)
            }
            Ok(None) => (Wait::Running, Asked::Unknown(Why::NotAsked)),
            Err(why) => (Wait::Unreadable(why), Asked::Unknown(why)),
        }
    }

    /// The time left of the latest timer descriptor among those that are waited for.
    pub(super) fn timer(&mut self, wait: &Wait) -> Option<Duration> {
        let is_timer = |t: &&Target| matches!(&t.kind, Kind::Internal(name) if name == "timerfd");
        let timers = wait.targets().iter().filter(is_timer);
        let left = timers.filter_map(|timer| {
            let path = format!("/proc/{}/fdinfo/{}", self.pid, timer.fd);
            time_left(&self.reader.text(&path).ok()?)
        });
        left.max()
    }

    fn asked(&mut self, number: u64, a: [u64; 6], wait: &Wait) -> Asked {
        let direct = |fds: &[u64]| Asked::Descriptors {
            fds: fds.iter().map(|fd| *fd as u32 as i32).collect(),
            direct: true,
        };
        match wait {
            Wait::Read(_) | Wait::Accept(_) | Wait::Connect(_) | Wait::Sync(_) => direct(&a[..1]),
            // `sendfile` also waits for what it reads.
            Wait::Write(_) if calls::call(number) == Call::Sendfile => direct(&a[..2]),
            Wait::Write(_) => direct(&a[..1]),
            Wait::Poll { .. } if matches!(calls::call(number), Call::Epoll | Call::Epoll2) => {
                Asked::Epoll(a[0] as u32 as i32)
            }
            Wait::Poll { .. } if matches!(calls::call(number), Call::Select | Call::Pselect) => {
                self.selected(a)
            }
            Wait::Poll { .. } => self.polled_all(a[0], a[1]),
            Wait::Sleep(_) | Wait::Signal(_) => Asked::Nothing,
            // Of several words none is chosen.
            Wait::Futex { .. } if calls::call(number) == Call::FutexWaitv => {
                Asked::Unknown(Why::NotAsked)
            }
            Wait::Futex { private, .. } => Asked::Futex {
                address: a[0],
                private: *private,
            },
            Wait::Child(pid) => Asked::Children(*pid),
            Wait::Fork => Asked::Children(-1),
            Wait::Lock(_) => Asked::Lock(a[0] as u32 as i32),
            Wait::Call(_) if calls::call(number) == Call::Splice => direct(&[a[0], a[2]]),
            Wait::Call(_) if calls::call(number) == Call::Tee => direct(&a[..2]),
            Wait::Call(_) | Wait::Running => Asked::Unknown(Why::Unsupported),
            Wait::Unreadable(why) => Asked::Unknown(*why),
        }
    }

    /// Every descriptor of a `poll`: one without wanted events still wakes it when the other side is closed.
    fn polled_all(&mut self, list: u64, count: u64) -> Asked {
        let count = match usize::try_from(count) {
            Ok(count) if count <= TARGETS_MAX => count,
            Ok(_) | Err(_) => return Asked::Unknown(Why::TooMany),
        };
        let mut bytes = vec![0; count * 8];
        if count > 0
            && let Err(why) = self.memory.read(list, &mut bytes)
        {
            return Asked::Unknown(why);
        }
        let fds = bytes
            .chunks_exact(8)
            .filter_map(|entry| entry.get(..4)?.try_into().map(i32::from_ne_bytes).ok());
        Asked::Descriptors {
            fds: fds.filter(|fd| *fd >= 0).collect(),
            direct: false,
        }
    }

    /// Every descriptor in the three sets of a `select`.
    fn selected(&mut self, a: [u64; 6]) -> Asked {
        let count = match usize::try_from(a[0]) {
            Ok(count) if count <= SELECT_MAX => count,
            Ok(_) | Err(_) => return Asked::Unknown(Why::TooMany),
        };
        let mut fds = std::collections::BTreeSet::new();
        for set in [a[1], a[2], a[3]].into_iter().filter(|set| *set != 0) {
            let mut bytes = vec![0; count.div_ceil(64) * 8];
            if let Err(why) = self.memory.read(set, &mut bytes) {
                return Asked::Unknown(why);
            }
            let is_set = |bit: &usize| bytes[bit / 8] >> (bit % 8) & 1 == 1;
            fds.extend(
                (0..count)
                    .filter(is_set)
                    .filter_map(|bit| i32::try_from(bit).ok()),
            );
        }
        Asked::Descriptors {
            fds: fds.into_iter().collect(),
            direct: false,
        }
    }

    fn decode(&mut self, number: u64, a: [u64; 6]) -> Wait {
        let target = || self.descriptors.target(a[0]);
        match calls::call(number) {
            Call::Read => Wait::Read(target()),
            Call::Write | Call::Sendfile => Wait::Write(target()),
            Call::Accept => Wait::Accept(target()),
            Call::Connect => Wait::Connect(target()),
            Call::Sync => Wait::Sync(target()),
            Call::Flock => Wait::Lock(target()),
            // F_SETLKW and F_OFD_SETLKW
            Call::Fcntl if matches!(a[1], 7 | 38) => Wait::Lock(target()),
            Call::Poll => self.poll(a[0], a[1], milliseconds(a[2])),
            Call::Ppoll => {
                let until = self.memory.limit(a[2], From::Call, Unit::Nanoseconds);
                self.poll(a[0], a[1], until)
            }
            Call::Select => self.select(a, Unit::Microseconds),
            Call::Pselect => self.select(a, Unit::Nanoseconds),
            Call::Epoll => self.epoll(a[0], milliseconds(a[3])),
            Call::Epoll2 => {
                let until = self.memory.limit(a[3], From::Call, Unit::Nanoseconds);
                self.epoll(a[0], until)
            }
            Call::Nanosleep => Wait::Sleep(self.memory.limit(a[0], From::Call, Unit::Nanoseconds)),
            Call::ClockNanosleep => {
                let from = if a[1] & TIMER_ABSOLUTE == 0 {
                    From::Call
                } else {
                    From::Clock(a[0])
                };
                Wait::Sleep(self.memory.limit(a[2], from, Unit::Nanoseconds))
            }
            Call::Futex => self.futex(a, number),
            Call::FutexWait => Wait::Futex {
                private: a[3] & FUTEX2_PRIVATE != 0,
                until: self
                    .memory
                    .limit(a[4], From::Clock(a[5]), Unit::Nanoseconds),
                owner: None,
            },
            Call::FutexWaitv => Wait::Futex {
                // Each of the several words says for itself whether it is private; the safe answer is no.
                private: false,
                until: self
                    .memory
                    .limit(a[3], From::Clock(a[4]), Unit::Nanoseconds),
                owner: None,
            },
            Call::Wait4 => Wait::Child(a[0] as i32),
            Call::Waitid => Wait::Child(if a[0] == 1 { a[1] as i32 } else { -1 }),
            Call::Fork => Wait::Fork,
            Call::Signal => Wait::Signal(Until::Never),
            Call::SignalTimed => {
                Wait::Signal(self.memory.limit(a[2], From::Call, Unit::Nanoseconds))
            }
            Call::Splice | Call::Tee | Call::Fcntl | Call::Other => {
                Wait::Call(u32::try_from(number).unwrap_or(u32::MAX))
            }
        }
    }

    fn poll(&mut self, list: u64, count: u64, until: Until) -> Wait {
        let count = usize::try_from(count)
            .unwrap_or(TARGETS_MAX)
            .min(TARGETS_MAX);
        let mut bytes = vec![0; count * 8];
        let targets = match self.memory.read(list, &mut bytes) {
            Ok(()) => bytes
                .chunks_exact(8)
                .filter_map(|entry| self.polled(entry))
                .collect(),
            Err(_) if count == 0 => Vec::new(),
            Err(why) => vec![Target::unreadable(why)],
        };
        Wait::Poll { targets, until }
    }

    fn polled(&self, entry: &[u8]) -> Option<Target> {
        let fd = i32::from_ne_bytes(entry.get(..4)?.try_into().ok()?);
        let events = u16::from_ne_bytes(entry.get(4..6)?.try_into().ok()?);
        (fd >= 0 && events & POLL_IN_OR_OUT != 0)
            .then(|| asked(self.descriptors, fd as u64, u64::from(events)))
    }

    /// The kernel writes the sets back only when the call returns: while it waits they are what was asked.
    fn select(&mut self, a: [u64; 6], unit: Unit) -> Wait {
        let until = self.memory.limit(a[4], From::Call, unit);
        let words = usize::try_from(a[0]).unwrap_or(0).min(1024).div_ceil(64);
        let mut targets = Vec::new();
        for set in [a[1], a[2]].into_iter().filter(|set| *set != 0) {
            let mut bytes = vec![0; words * 8];
            if let Err(why) = self.memory.read(set, &mut bytes) {
                targets.push(Target::unreadable(why));
                continue;
            }
            let set_bits = (0..words * 64).filter(|bit| bytes[bit / 8] >> (bit % 8) & 1 == 1);
            for fd in set_bits.take(TARGETS_MAX) {
                targets.push(self.descriptors.target(fd as u64));
            }
        }
        Wait::Poll { targets, until }
    }

    fn epoll(&mut self, fd: u64, until: Until) -> Wait {
        let path = format!("/proc/{}/fdinfo/{}", self.pid, fd as u32);
        let targets = match self.reader.text(&path) {
            Ok(text) => {
                let lines = text.lines().filter_map(watched).take(TARGETS_MAX);
                lines
                    .map(|(fd, events)| asked(self.descriptors, fd, events))
                    .collect()
            }
            Err(why) => vec![Target::unreadable(why)],
        };
        Wait::Poll { targets, until }
    }

    fn futex(&mut self, a: [u64; 6], number: u64) -> Wait {
        let private = a[1] & FUTEX_PRIVATE != 0;
        let command = a[1] & !(FUTEX_PRIVATE | FUTEX_REALTIME);
        let clock = From::Clock(u64::from(a[1] & FUTEX_REALTIME == 0));
        let from = match command {
            0 => From::Call,      // FUTEX_WAIT
            9 | 11 | 13 => clock, // WAIT_BITSET, WAIT_REQUEUE_PI, LOCK_PI2
            6 => From::Clock(0),  // LOCK_PI
            _ => return Wait::Call(u32::try_from(number).unwrap_or(u32::MAX)),
        };
        let until = self.memory.limit(a[3], from, Unit::Nanoseconds);
        let owner = match command {
            6 | 13 => self.memory.word(a[0]).ok().map(|word| word & PI_OWNER),
            0 | 9 if a[2] as u32 == MUTEX_CONTENDED => self.mutex_owner(a[0]),
            _ => None,
        };
        Wait::Futex {
            private,
            until,
            owner: owner.filter(|tid| *tid != 0),
        }
    }

    /// The C library keeps lock, depth and owner in three words. Another kind of lock has something else there: the
    /// caller must find the number among the threads of this very process.
    fn mutex_owner(&mut self, address: u64) -> Option<u32> {
        let mut bytes = [0; 12];
        self.memory.read(address, &mut bytes).ok()?;
        let word = |at: usize| bytes[at..at + 4].try_into().map(u32::from_ne_bytes).ok();
        (word(0)? == MUTEX_CONTENDED).then(|| word(8)).flatten()
    }
}

/// A descriptor with the events that are asked of it. The writing end of a pipe is never read: who asks for that too wants
/// to hear of its closing.
fn asked(descriptors: &Descriptors, fd: u64, events: u64) -> Target {
    let target = descriptors.target(fd);
    let pipe = matches!(target.kind, Kind::Pipe(_));
    let full = events & OUT != 0 && events & EPOLL_CHANGES == 0 && (pipe || events & IN == 0);
    Target { full, ..target }
}

/// Number, then six arguments in hexadecimal; what follows are registers.
fn parse(line: &str) -> Option<Numbers> {
    let mut words = line.split_whitespace();
    let mut numbers = [words.next()?.parse().ok()?, 0, 0, 0, 0, 0, 0];
    for number in &mut numbers[1..] {
        *number = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    }
    Some(numbers)
}

/// A line `tfd: 5 events: 19 data: …` of an epoll descriptor; one that waits for nothing is left out.
fn watched(line: &str) -> Option<(u64, u64)> {
    let mut words = line.strip_prefix("tfd:")?.split_whitespace();
    let fd = words.next()?.parse().ok()?;
    let events = u64::from_str_radix(words.nth(1)?, 16).ok()?;
    (events & EPOLL_IN_OR_OUT != 0).then_some((fd, events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_a_number_and_six_arguments() {
        let line = "202 0x7f00 0x189 0x0 0x0 0x0 0xffffffff 0x7ffd 0x7f28\n";
        assert_eq!(
            parse(line),
            Some([202, 0x7f00, 0x189, 0, 0, 0, 0xffff_ffff])
        );
        for broken in ["", "x", "0 1 2", "202 0x1 0x2 0x3 0x4 0x5"] {
            assert_eq!(parse(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn the_time_left_of_a_timer_descriptor_is_read() {
        let info = "clockid: 1\nticks: 0\nit_value: (49, 500000000)\nit_interval: (0, 0)\n";
        assert_eq!(time_left(info), Some(Duration::from_millis(49_500)));
        for none in ["it_value: (0, 0)", "it_value: 3", "clockid: 1"] {
            assert_eq!(time_left(none), None, "{none}");
        }
    }

    #[test]
    fn a_futex_that_is_private_or_has_a_limit_is_not_shared() {
        let call = |flags, limit| [nix::libc::SYS_futex as u64, 0x7f00, flags, 0, limit, 0, 0];
        assert_eq!(shared_futex(&call(0, 0)), Some(0x7f00));
        assert_eq!(shared_futex(&call(FUTEX_PRIVATE, 0)), None);
        assert_eq!(shared_futex(&call(0, 0x7fff)), None);
    }

    #[test]
    fn a_watched_descriptor_that_waits_for_nothing_is_left_out() {
        assert_eq!(
            watched("tfd:       12 events:       19 data: c  pos:0 ino:1 sdev:f"),
            Some((12, 0x19))
        );
        assert_eq!(
            watched("tfd:       12 events: 40000000 data: c  pos:0"),
            None
        );
        assert_eq!(watched("pos:\t0"), None);
    }
}
