//! Files that a process has open, looked at without a word to the server they may be on: one that does not answer, or a
//! program in its place, would hold this one too.

use super::text;
use rustix::fs::{AtFlags, CWD, FileType, StatxFlags, major, minor, statx};
use rustix::io::Errno;

/// File systems that wait for another machine. 9p is none of them: gVisor shows the files of its own machine as that.
const REMOTE: [&str; 11] = [
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "afs", "lustre", "gpfs", "beegfs", "orangefs",
];
/// What the files of a container are on that was started without root: it hangs with all of the container or not at all.
const CONTAINERS_OWN: &str = "fuse.fuse-overlayfs";

/// What the kernel knows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) kind: FileType,
    pub(crate) inode: u64,
    /// Major and minor number.
    pub(crate) device: (u32, u32),
    /// Of a file that stands for a device, which one it stands for; zeros for any other file.
    pub(crate) stands_for: (u32, u32),
    /// As `mountinfo` counts; none before Linux 5.8.
    mount: Option<u64>,
}

/// The attributes of the file at this path of /proc, from the kernel's memory: kind, inode and device never change.
pub(crate) fn attributes(path: &str) -> Result<Attributes, Errno> {
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::MNT_ID;
    match statx(CWD, path, flags, wanted) {
        Ok(found) => Ok(Attributes {
            kind: FileType::from_raw_mode(found.stx_mode.into()),
            inode: found.stx_ino,
            device: (found.stx_dev_major, found.stx_dev_minor),
            stands_for: (found.stx_rdev_major, found.stx_rdev_minor),
            mount: (found.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id),
        }),
        Err(Errno::NOSYS | Errno::PERM) => synced(path),
        Err(errno) => Err(errno),
    }
}

/// The same where the kernel is older than 4.11, or a filter of system calls refuses `statx`: this may ask the server.
fn synced(path: &str) -> Result<Attributes, Errno> {
    let found = rustix::fs::stat(path)?;
    Ok(Attributes {
        kind: FileType::from_raw_mode(found.st_mode),
        inode: found.st_ino,
        device: (major(found.st_dev), minor(found.st_dev)),
        stands_for: (major(found.st_rdev), minor(found.st_rdev)),
        mount: None,
    })
}

/// Whether to open or read this file of a process may mean to wait for another machine or program. Where that is not known
/// it may: a file system that hung is often taken off the tree of mounts while files on it are open.
pub(crate) fn may_hang(pid: u32, file: &Attributes) -> bool {
    if file.device.0 != 0 {
        return false; // on a disk
    }
    let mounts = text(&format!("/proc/{pid}/mountinfo")).unwrap_or_default();
    file_system(&mounts, file).is_none_or(waits_for_others)
}

fn waits_for_others(file_system: &str) -> bool {
    let in_user_space = file_system == "fuse" || file_system.starts_with("fuse.");
    REMOTE.contains(&file_system) || in_user_space && file_system != CONTAINERS_OWN
}

/// The type of the file system that a file is on: by its mount, or by its device where it was opened in another mount
/// namespace.
fn file_system<'a>(mounts: &'a str, file: &Attributes) -> Option<&'a str> {
    let field = |line: &'a str, nth| line.split(' ').nth(nth);
    let device = format!("{}:{}", file.device.0, file.device.1);
    let number = file.mount.map(|mount| mount.to_string());
    let by_number = |line: &&'a str| number.is_some() && field(line, 0) == number.as_deref();
    let by_device = |line: &&'a str| field(line, 2) == Some(device.as_str());
    let line = mounts.lines().find(by_number);
    let line = line.or_else(|| mounts.lines().find(by_device))?;
    line.split_once(" - ")?.1.split(' ').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn with_and_without_statx_a_file_is_the_same() {
        let (_reader, writer) = std::io::pipe().unwrap();
        let file = tempfile::tempfile().unwrap();
        for (fd, kind) in [
            (writer.as_raw_fd(), FileType::Fifo),
            (file.as_raw_fd(), FileType::RegularFile),
        ] {
            let path = format!("/proc/self/fd/{fd}");
            let found = attributes(&path).unwrap();
            assert_eq!(found.kind, kind);
            let without = Attributes {
                mount: None,
                ..found
            };
            assert_eq!(synced(&path), Ok(without));
        }
        assert_eq!(attributes("/proc/self/fd/999999"), Err(Errno::NOENT));
    }

    #[test]
    fn a_file_system_is_known_by_its_mount_and_else_by_its_device() {
        let mounts = "24 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
                      91 24 0:40 / /mnt/home\\040x rw shared:1 master:2 - nfs4 server:/ rw\n\
                      92 24 0:41 / /mnt/s rw - fuse.sshfs x rw\n";
        let on = |mount, device| Attributes {
            kind: FileType::RegularFile,
            inode: 1,
            device,
            stands_for: (0, 0),
            mount,
        };
        let found = |mount, device| file_system(mounts, &on(mount, device));
        assert_eq!(found(Some(91), (0, 40)), Some("nfs4"));
        assert_eq!(found(Some(7), (0, 41)), Some("fuse.sshfs"));
        assert_eq!(found(None, (0, 40)), Some("nfs4"));
        assert_eq!(found(Some(7), (0, 99)), None);
        assert!(may_hang(std::process::id(), &on(Some(7), (0, 1_000_000))));
        assert!(!may_hang(std::process::id(), &on(Some(7), (8, 1))));
    }

    #[test]
    fn file_systems_of_other_machines_and_of_programs_may_hang() {
        for waits in ["nfs", "nfs4", "cifs", "fuse", "fuse.sshfs"] {
            assert!(waits_for_others(waits), "{waits}");
        }
        for local in [
            "ext4",
            "overlay",
            "tmpfs",
            "btrfs",
            "fuseblk",
            CONTAINERS_OWN,
        ] {
            assert!(!waits_for_others(local), "{local}");
        }
    }
}
