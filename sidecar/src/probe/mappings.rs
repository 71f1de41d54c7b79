//! Mapped memory of a process: what a shared futex lies in, and who else maps it.

use super::read::{Reader, TEXT_BYTES_MAX};
use crate::process::handle::file::attributes;
use heartbeat::verdict::sample::Why;
use std::collections::BTreeSet;
use std::os::unix::fs::DirEntryExt;

/// Names of shared memory that are looked through: more are taken to be one of its own.
const NAMES_MAX: usize = 4096;

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
        Some(line) if line.is_closed() && !has_name(through, &line) => {
            Ok(Mapping::Shared(line.device, line.inode))
        }
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

/// Whether shared memory has a name still. The kernel calls it deleted when the name is gone that it was opened by:
/// `sem_open` makes a semaphore under another one, links it and removes the first (glibc). Who may not follow `map_files`
/// looks for it in the directory.
fn has_name(through: u32, line: &Line<'_>) -> bool {
    if line.name.starts_with("/dev/zero") {
        return false;
    }
    let (start, end) = (line.range.start, line.range.end);
    let mapped = format!("/proc/{through}/map_files/{start:x}-{end:x}");
    match rustix::fs::stat(mapped) {
        Ok(found) => found.st_nlink > 0,
        Err(_) => is_listed(through, line).unwrap_or(true),
    }
}

/// Whether the directory of shared memory has this file; `None` where it cannot be read, or another one is there.
fn is_listed(through: u32, line: &Line<'_>) -> Option<bool> {
    let directory = format!("/proc/{through}/root/dev/shm");
    if device_number(attributes(&directory).ok()?.device) != line.device {
        return None;
    }
    let entries = std::fs::read_dir(directory).ok()?;
    for (count, entry) in entries.enumerate() {
        let entry = entry.ok().filter(|_| count < NAMES_MAX)?;
        // A directory may hold it too.
        if entry.ino() == line.inode || entry.file_type().ok()?.is_dir() {
            return Some(true);
        }
    }
    Some(false)
}

/// Major and minor number of a device as one.
pub(super) fn device_number((major, minor): (u32, u32)) -> u64 {
    u64::from(major) << 32 | u64::from(minor)
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
    let number = |word: &str| u32::from_str_radix(word, 16).ok();
    let device = device_number((number(major)?, number(minor)?));
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
    use nix::libc;
    use std::os::fd::AsRawFd;

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

    /// As glibc makes a semaphore: linked under its name, and the first one removed.
    #[test]
    fn memory_that_the_kernel_calls_deleted_is_open_while_it_has_another_name() {
        let name = |end: &str| format!("/dev/shm/hb-mapped-{}-{end}", std::process::id());
        let [first, second] = ["first", "second"].map(name);
        std::fs::write(&first, [0; 4096]).unwrap();
        let file = std::fs::File::open(&first).unwrap();
        #[expect(
            unsafe_code,
            reason = "only a mapping of our own shows what maps says of it"
        )]
        // SAFETY: a new mapping of a file that nothing else maps, which nothing reads.
        let address = unsafe {
            let (read, shared) = (libc::PROT_READ, libc::MAP_SHARED);
            libc::mmap(
                std::ptr::null_mut(),
                4096,
                read,
                shared,
                file.as_raw_fd(),
                0,
            )
        };
        assert_ne!(address, libc::MAP_FAILED);
        let address = address as u64;
        std::fs::hard_link(&first, &second).unwrap();
        std::fs::remove_file(&first).unwrap();
        let of = || at(&mut Reader::default(), std::process::id(), address);
        let lines = |reader: &mut Reader| {
            let maps = reader.text(&format!("/proc/{}/maps", std::process::id()));
            maps.unwrap()
                .lines()
                .find(|text| line(text).is_some_and(|line| line.range.contains(&address)))
                .unwrap()
                .to_owned()
        };
        let text = lines(&mut Reader::default());
        let listed = || is_listed(std::process::id(), &line(&text).unwrap());
        assert_eq!((of(), listed()), (Ok(Mapping::Open), Some(true)));
        std::fs::remove_file(&second).unwrap();
        assert!(matches!(of(), Ok(Mapping::Shared(..))), "{:?}", of());
    }

    #[test]
    fn the_heap_of_this_process_is_private() {
        let value = Box::new(1_u32);
        let address = std::ptr::from_ref(&*value) as u64;
        let found = at(&mut Reader::default(), std::process::id(), address);
        assert_eq!(found, Ok(Mapping::Private));
    }
}
