//! Bounded reads of /proc: one buffer, small files, reasons instead of panics.

use heartbeat::verdict::sample::Why;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::borrow::Cow;

/// The longest text that is read from one file of /proc; the rest is ignored.
pub(super) const TEXT_BYTES_MAX: usize = 256 * 1024;
const FIRST_BYTES: usize = 4096;

/// Reads files into one buffer that is used again and again.
#[derive(Debug, Default)]
pub(super) struct Reader {
    buffer: Vec<u8>,
}

impl Reader {
    /// The text of a file; what is not UTF-8 is replaced.
    pub(super) fn text(&mut self, path: &str) -> Result<Cow<'_, str>, Why> {
        self.bytes(path).map(String::from_utf8_lossy)
    }

    /// At most [`TEXT_BYTES_MAX`] bytes of a file.
    pub(super) fn bytes(&mut self, path: &str) -> Result<&[u8], Why> {
        let file = open_file(path)?;
        if self.buffer.len() < FIRST_BYTES {
            self.buffer.resize(FIRST_BYTES, 0);
        }
        let mut length = 0;
        loop {
            if length == self.buffer.len() {
                if length >= TEXT_BYTES_MAX {
                    break;
                }
                self.buffer.resize(length * 2, 0);
            }
            match rustix::io::read(&file, &mut self.buffer[length..]) {
                Ok(0) => break,
                Ok(n) => length += n,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(why(errno)),
            }
        }
        Ok(&self.buffer[..length])
    }
}

/// Opens a file for reading, never waiting for it.
pub(super) fn open_file(path: &str) -> Result<OwnedFd, Why> {
    open(
        path,
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        Mode::empty(),
    )
    .map_err(why)
}

/// The numbers that name the entries of a directory of /proc, at most so many.
pub(super) fn numbers(path: &str, max: usize) -> Result<(Vec<u32>, bool), Why> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    numbers_in(open(path, flags, Mode::empty()).map_err(why)?, max)
}

/// The same of a directory that is open.
pub(super) fn numbers_in(directory: impl AsFd, max: usize) -> Result<(Vec<u32>, bool), Why> {
    let mut found = Vec::new();
    let mut space: [std::mem::MaybeUninit<u8>; 8192] = [std::mem::MaybeUninit::uninit(); 8192];
    let mut entries = rustix::fs::RawDir::new(directory.as_fd(), &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(why)?;
        let number = entry
            .file_name()
            .to_str()
            .ok()
            .and_then(|name| name.parse().ok());
        if let Some(number) = number {
            if found.len() == max {
                return Ok((found, true));
            }
            found.push(number);
        }
    }
    Ok((found, false))
}

/// Where a link of /proc points to.
pub(super) fn link(path: &str) -> Result<String, Why> {
    let target = rustix::fs::readlink(path, Vec::new()).map_err(why)?;
    Ok(String::from_utf8_lossy(target.as_bytes()).into_owned())
}

/// The kernel's error as a reason.
pub(super) fn why(errno: Errno) -> Why {
    match errno {
        Errno::NOENT | Errno::SRCH | Errno::BADF => Why::Gone,
        Errno::ACCESS | Errno::PERM => Why::Denied,
        _ => Why::Unsupported,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_gone_and_one_that_makes_no_sense_is_bounded() {
        let mut reader = Reader::default();
        assert_eq!(reader.text("/proc/0/stat").err(), Some(Why::Gone));
        assert_eq!(reader.bytes("/dev/zero").unwrap().len(), TEXT_BYTES_MAX);
    }

    #[test]
    fn entries_are_counted_up_to_the_limit() {
        let (all, cut) = numbers("/proc/self/fd", 1000).unwrap();
        assert!(!cut && all.len() >= 3, "{all:?}");
        let (some, cut) = numbers("/proc/self/fd", 2).unwrap();
        assert!(cut && some.len() == 2, "{some:?}");
    }
}
