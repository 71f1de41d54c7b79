//! The table of descriptors of one process, read relative to its directory: a search of the machine reads thousands of links,
//! and a whole path costs half as much again for each.

use super::read::{numbers_in, why};
use heartbeat::verdict::sample::Why;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, fstat, open, readlinkat};

/// The most descriptors read of one process.
pub(super) const DESCRIPTORS_MAX: usize = 8192;

/// The open table of one process.
#[derive(Debug)]
pub(super) struct Table {
    directory: OwnedFd,
    fds: Vec<u32>,
    /// Some descriptors are left out.
    pub(super) is_cut: bool,
}

impl Table {
    /// Of the process that this living thread belongs to, at most so many descriptors.
    pub(super) fn open(through: u32, max: usize) -> Result<Self, Why> {
        Self::list(directory(through)?, max)
    }

    /// None when it has more descriptors than this. Then it is not even listed where the kernel counts them (Linux 6.2).
    pub(super) fn open_whole(through: u32, max: usize) -> Result<Option<Self>, Why> {
        let directory = directory(through)?;
        let count = fstat(&directory).map_or(0, |stat| stat.st_size);
        if usize::try_from(count).is_ok_and(|count| count > max) {
            return Ok(None);
        }
        Ok(Some(Self::list(directory, max)?).filter(|table| !table.is_cut))
    }

    fn list(directory: OwnedFd, max: usize) -> Result<Self, Why> {
        let (fds, is_cut) = numbers_in(&directory, max)?;
        Ok(Self {
            directory,
            fds,
            is_cut,
        })
    }

    /// Whether no descriptor is open, as for a thread that has ended.
    pub(super) fn is_empty(&self) -> bool {
        self.fds.is_empty()
    }

    /// What each descriptor leads to; one that was closed meanwhile is passed over.
    pub(super) fn links(&self) -> impl Iterator<Item = (i32, String)> {
        self.fds.iter().filter_map(|fd| {
            let target = readlinkat(&self.directory, fd.to_string(), Vec::new()).ok()?;
            let target = String::from_utf8_lossy(target.as_bytes()).into_owned();
            Some((i32::try_from(*fd).ok()?, target))
        })
    }
}

fn directory(through: u32) -> Result<OwnedFd, Why> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(format!("/proc/{through}/fd"), flags, Mode::empty()).map_err(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_table_names_what_each_descriptor_leads_to() {
        let me = std::process::id();
        let table = Table::open_whole(me, DESCRIPTORS_MAX).unwrap().unwrap();
        let own = table.directory.as_raw_fd();
        let found = table.links().find(|(fd, _)| *fd == own);
        assert_eq!(found, Some((own, format!("/proc/{me}/fd"))));
    }

    #[test]
    fn a_table_that_is_too_long_is_not_read() {
        assert!(Table::open_whole(std::process::id(), 2).unwrap().is_none());
    }
}
