//! The memory of another process, where permitted: time limits, lists of descriptors and mutexes that a thread passed to
//! the kernel.

use super::read::{open_file, why};
use heartbeat::verdict::sample::{Until, Why};
use rustix::fd::OwnedFd;
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;

/// Opens the memory at the first question.
#[derive(Debug)]
pub(super) struct Memory {
    pid: u32,
    file: Option<Result<OwnedFd, Why>>,
}

/// What a time limit counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// The call itself.
    Call,
    /// A clock, by the kernel's number.
    Clock(u64),
}

impl Memory {
    pub(super) fn new(pid: u32) -> Self {
        Self { pid, file: None }
    }

    /// Fills the buffer from an address.
    pub(super) fn read(&mut self, address: u64, buffer: &mut [u8]) -> Result<(), Why> {
        let pid = self.pid;
        let file = self
            .file
            .get_or_insert_with(|| open_file(&format!("/proc/{pid}/mem")));
        let file = file.as_ref().map_err(|why| *why)?;
        match rustix::io::pread(file, &mut *buffer, address) {
            Ok(n) if n == buffer.len() => Ok(()),
            Ok(_) => Err(Why::Gone),
            Err(errno) => Err(why(errno)),
        }
    }

    /// A number of 32 bits.
    pub(super) fn word(&mut self, address: u64) -> Result<u32, Why> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    /// The time limit a pointer to a `timespec` stands for; no pointer, no limit.
    pub(super) fn limit(&mut self, pointer: u64, from: From, unit: Unit) -> Until {
        if pointer == 0 {
            return Until::Never;
        }
        let mut bytes = [0; 16];
        if let Err(why) = self.read(pointer, &mut bytes) {
            return Until::Unreadable(why);
        }
        let (seconds, fraction) = bytes.split_at(8);
        let number = |half: &[u8]| half.try_into().map(i64::from_ne_bytes).ok();
        let Some(time) = number(seconds)
            .zip(number(fraction))
            .and_then(|(s, f)| unit.time(s, f))
        else {
            return Until::Unreadable(Why::Malformed);
        };
        match from {
            From::Call => Until::In(time),
            From::Clock(clock) => match reading(clock) {
                Some(now) => Until::In(time.saturating_sub(now)),
                None => Until::Unreadable(Why::Unsupported),
            },
        }
    }
}

/// What the second number of a time limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Of a `timespec`.
    Nanoseconds,
    /// Of a `timeval`.
    Microseconds,
}

impl Unit {
    fn time(self, seconds: i64, fraction: i64) -> Option<Duration> {
        let nanos = match self {
            Self::Nanoseconds => fraction,
            Self::Microseconds => fraction.checked_mul(1000)?,
        };
        let nanos = u32::try_from(nanos).ok().filter(|n| *n < 1_000_000_000)?;
        Some(Duration::new(u64::try_from(seconds).ok()?, nanos))
    }
}

/// Milliseconds as `poll` and `epoll_wait` take them: 32 bits, negative is no limit.
pub(super) fn milliseconds(argument: u64) -> Until {
    match u64::try_from(argument as u32 as i32) {
        Ok(millis) => Until::In(Duration::from_millis(millis)),
        Err(_) => Until::Never,
    }
}

fn reading(clock: u64) -> Option<Duration> {
    let id = match clock {
        0 => ClockId::Realtime,
        1 => ClockId::Monotonic,
        7 => ClockId::Boottime,
        _ => return None,
    };
    let Timespec { tv_sec, tv_nsec } = clock_gettime(id);
    Some(Duration::new(
        u64::try_from(tv_sec).ok()?,
        u32::try_from(tv_nsec).ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Memory {
        Memory::new(std::process::id())
    }

    #[test]
    fn a_limit_is_read_from_where_the_pointer_points() {
        let spec: [i64; 2] = [600, 500_000_000];
        let at = spec.as_ptr() as u64;
        let read = me().limit(at, From::Call, Unit::Nanoseconds);
        assert_eq!(read, Until::In(Duration::from_millis(600_500)));
        let value: [i64; 2] = [3, 250_000];
        let at = value.as_ptr() as u64;
        let read = me().limit(at, From::Call, Unit::Microseconds);
        assert_eq!(read, Until::In(Duration::from_millis(3250)));
    }

    #[test]
    fn nonsense_is_named_and_not_guessed() {
        let spec: [i64; 2] = [-1, 7_000_000_000];
        let read = |at| me().limit(at, From::Call, Unit::Nanoseconds);
        assert_eq!(
            read(spec.as_ptr() as u64),
            Until::Unreadable(Why::Malformed)
        );
        assert!(matches!(read(8), Until::Unreadable(_)));
        assert_eq!(read(0), Until::Never);
    }

    #[test]
    fn an_absolute_limit_that_is_past_is_due_now() {
        let spec: [i64; 2] = [1, 0];
        let read = me().limit(spec.as_ptr() as u64, From::Clock(1), Unit::Nanoseconds);
        assert_eq!(read, Until::In(Duration::ZERO));
    }

    #[test]
    fn minus_one_millisecond_is_for_ever() {
        assert_eq!(milliseconds(0xffff_ffff), Until::Never);
        assert_eq!(milliseconds(30_000), Until::In(Duration::from_secs(30)));
    }
}
