//! Mapped memory of a process: what a shared futex lies in, and who else maps it.

use super::read::{Reader, TEXT_BYTES_MAX};
use heartbeat::verdict::sample::Why;
use std::collections::BTreeSet;

/// The memory that an address lies in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    /// Of this address space alone.
    Private,
    /// Shared, by device and inode, without a name that another process could open.
    Shared(u64, u64),
    /// Shared, and open to any process that knows a name or a key.
    Open,
}

/// What this address lies in.
pub(super) fn at(reader: &mut Reader, through: u32, address: u64) -> Result<Mapping, Why> {
    let text = reader.text(&format!("/proc/{through}/maps"))?;
    let lines = text.lines().filter_map(line);
    let found = lines.into_iter().find(|line| line.range.contains(&address));
    match found {
        Some(line) if !line.shared => Ok(Mapping::Private),
        Some(line) if line.is_closed() => Ok(Mapping::Shared(line.device, line.inode)),
        Some(_) => Ok(Mapping::Open),
        None if text.len() >= TEXT_BYTES_MAX => Err(Why::TooMany),
        None => Err(Why::Gone),
    }
}

/// The files that a process maps shared, by device and inode.
pub(super) fn files(reader: &mut Reader, through: u32) -> Result<BTreeSet<(u64, u64)>, Why> {
    let text = reader.text(&format!("/proc/{through}/maps"))?;
    if text.len() >= TEXT_BYTES_MAX {
        return Err(Why::TooMany);
    }
    let shared = text.lines().filter_map(line).filter(|line| line.shared);
    Ok(shared.map(|line| (line.device, line.inode)).collect())
}

/// Whether a process may have asynchronous reads or writes on their way.
pub(super) fn has_async_io(reader: &mut Reader, through: u32) -> bool {
    match reader.text(&format!("/proc/{through}/maps")) {
        Ok(text) => text.len() >= TEXT_BYTES_MAX || text.contains("/[aio]"),
        Err(_) => true,
    }
}

struct Line<'a> {
    range: std::ops::Range<u64>,
    shared: bool,
    device: u64,
    inode: u64,
    name: &'a str,
}

impl Line<'_> {
    /// Memory made by `mmap` alone, or a file of memory that has lost its name. A memfd can be passed on by descriptor, a
    /// System V segment be attached by key.
    fn is_closed(&self) -> bool {
        let Some(name) = self.name.strip_suffix(" (deleted)") else {
            return false;
        };
        name == "/dev/zero" || name.starts_with("/dev/shm/")
    }
}

/// `7f0c-7f0d rw-s 00001000 00:01 1029 /dev/zero (deleted)`
fn line(text: &str) -> Option<Line<'_>> {
    let mut words = text.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let hexadecimal = |word: &str| u64::from_str_radix(word, 16).ok();
    let range = hexadecimal(start)?..hexadecimal(end)?;
    let shared = words.next()?.as_bytes().get(3) == Some(&b's');
    words.next()?;
    let (major, minor) = words.next()?.split_once(':')?;
    let device = hexadecimal(major)? << 32 | hexadecimal(minor)?;
    let inode = words.next()?.parse().ok()?;
    let name = words.next().unwrap_or_default().trim();
    Some(Line {
        range,
        shared,
        device,
        inode,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_apart_by_who_can_reach_it() {
        let of = |text: &str| line(text).map(|l| (l.shared, l.is_closed(), l.inode));
        let closed = "7f00-7f10 rw-s 00000000 00:01 1029       /dev/zero (deleted)";
        assert_eq!(of(closed), Some((true, true, 1029)));
        let named = "7f00-7f10 rw-s 00000000 00:17 9          /dev/shm/sem.x";
        assert_eq!(of(named), Some((true, false, 9)));
        let memfd = "7f00-7f10 rw-s 00000000 00:01 7          /memfd:x (deleted)";
        assert_eq!(of(memfd), Some((true, false, 7)));
        let private = "7f00-7f10 rw-p 00000000 00:00 0          [heap]";
        assert_eq!(of(private), Some((false, false, 0)));
        assert_eq!(of("garbage"), None);
    }

    #[test]
    fn the_heap_of_this_process_is_private() {
        let value = Box::new(1_u32);
        let address = std::ptr::from_ref(&*value) as u64;
        let found = at(&mut Reader::default(), std::process::id(), address);
        assert_eq!(found, Ok(Mapping::Private));
    }
}
