//! The directory in which programs of one user find each other, held open: what is read and written there cannot be
//! exchanged by another user between the check and the use.
//!
//! In a shared place such as `/tmp` another user may have made the directory first. So it is opened without following a
//! link, checked as opened (owner, mode), and every file in it is opened relative to that descriptor.

use heartbeat::base::runtime_dir::runtime_dirs;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, open, openat2, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;
use rustix::process::geteuid;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// What group and others may not do.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A directory of this user's that no other user can write to.
#[derive(Debug)]
pub struct PrivateDir {
    fd: OwnedFd,
    path: PathBuf,
}

/// Why there is no such directory. What to do about it depends on what the directory is for.
#[derive(Debug, thiserror::Error)]
pub enum PrivateDirError {
    /// It is a link, another user's, or others may write to it.
    #[error("{0:?} must be a directory of user {1} that no other user can write to")]
    NotOurs(PathBuf, u32),
    /// It cannot be opened or made.
    #[error("{0:?}: {1}")]
    Io(PathBuf, io::Error),
    /// There is no candidate.
    #[error("no place for a runtime directory; set XDG_RUNTIME_DIR")]
    NoPlace,
}

impl PrivateDir {
    /// The runtime directory, made when it is missing: the first place that is safe. The places before it that are
    /// another user's are returned with it.
    ///
    /// # Errors
    /// No place is safe; the error is that of the first.
    pub fn of_user() -> Result<(Self, Vec<PrivateDirError>), PrivateDirError> {
        Self::first_safe(&places(), Self::make)
    }

    /// The runtime directory, if it is there and safe.
    pub fn of_user_if_there() -> Option<Self> {
        Self::first_safe(&places(), Self::open)
            .ok()
            .map(|(dir, _)| dir)
    }

    fn first_safe(
        places: &[PathBuf],
        open: fn(&Path) -> Result<Self, PrivateDirError>,
    ) -> Result<(Self, Vec<PrivateDirError>), PrivateDirError> {
        let mut refused = Vec::new();
        for place in places {
            match open(place) {
                Ok(dir) => {
                    // One that cannot be made is no news: that is why there are others.
                    refused.retain(|error| matches!(error, PrivateDirError::NotOurs(..)));
                    return Ok((dir, refused));
                }
                Err(error) => refused.push(error),
            }
        }
        Err(refused
            .into_iter()
            .next()
            .unwrap_or(PrivateDirError::NoPlace))
    }

    /// Opens a directory as it is, and checks it.
    ///
    /// # Errors
    /// It is not there, not a directory, not ours, or writable by others.
    pub fn open(path: &Path) -> Result<Self, PrivateDirError> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let uid = geteuid().as_raw();
        let fd = match open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(PrivateDirError::NotOurs(path.to_owned(), uid));
            }
            Err(error) => return Err(PrivateDirError::Io(path.to_owned(), error.into())),
        };
        let found =
            fstat(&fd).map_err(|error| PrivateDirError::Io(path.to_owned(), error.into()))?;
        if found.st_uid == uid && found.st_mode & WRITABLE_BY_OTHERS == 0 {
            let path = path.to_owned();
            Ok(Self { fd, path })
        } else {
            Err(PrivateDirError::NotOurs(path.to_owned(), uid))
        }
    }

    fn make(path: &Path) -> Result<Self, PrivateDirError> {
        match mkdirat(rustix::fs::CWD, path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Self::open(path),
            Err(error) => Err(PrivateDirError::Io(path.to_owned(), error.into())),
        }
    }

    /// Its path, for people and for the agent's environment.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path to this very directory, whatever happens to its name meanwhile; valid in this process only.
    pub fn held_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }

    /// The descriptor.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.fd
    }

    /// Whether the path still leads to this very directory.
    pub fn is_there(&self) -> bool {
        let (Ok(held), Ok(found)) = (fstat(&self.fd), rustix::fs::lstat(&self.path)) else {
            return false;
        };
        (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino)
    }

    /// The content of a file of this user's; `None` when there is none, when it is a link or no file, or when another
    /// user owns it.
    pub fn read(&self, name: &str) -> Option<String> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = self.open_file(name, flags, Mode::empty()).ok()?;
        let found = fstat(&file).ok()?;
        let ours = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
            && found.st_uid == geteuid().as_raw()
            && found.st_mode & WRITABLE_BY_OTHERS == 0;
        let mut text = String::new();
        let mut file = File::from(file).take(FILE_BYTES_MAX);
        (ours && file.read_to_string(&mut text).is_ok()).then_some(text)
    }

    /// Writes a file whole, readable by this user only: a reader sees the old content or the new one.
    ///
    /// # Errors
    /// The directory is gone or full.
    pub fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let draft = format!(".{name}.{}", std::process::id());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        self.remove(&draft);
        let file = self.open_file(&draft, flags, Mode::RUSR | Mode::WUSR)?;
        let written = File::from(file).write_all(text.as_bytes());
        let named = written.and_then(|()| Ok(renameat(&self.fd, &draft, &self.fd, name)?));
        if named.is_err() {
            self.remove(&draft);
        }
        named
    }

    /// Removes a file; one that is not there is no error.
    pub fn remove(&self, name: &str) {
        let _ = unlinkat(&self.fd, name, AtFlags::empty()); // it is not there: it need not be removed
    }

    /// Device and inode of an entry, links not followed.
    pub fn inode(&self, name: &str) -> Option<(u64, u64)> {
        let found = statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((found.st_dev, found.st_ino))
    }

    fn open_file(&self, name: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let inside =
            ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH;
        match openat2(&self.fd, name, flags, mode, inside) {
            // Before Linux 5.6, or refused by a filter of system calls. A name without a slash leads nowhere else.
            Err(Errno::NOSYS | Errno::PERM) if !name.contains('/') => {
                rustix::fs::openat(&self.fd, name, flags | OFlags::NOFOLLOW, mode)
            }
            opened => opened,
        }
    }
}

fn places() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    runtime_dirs(
        variable("XDG_RUNTIME_DIR"),
        variable("XDG_STATE_HOME"),
        variable("HOME"),
        geteuid().as_raw(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn made() -> (tempfile::TempDir, PrivateDir) {
        let parent = tempfile::tempdir().unwrap();
        let dir = PrivateDir::make(&parent.path().join("hb")).unwrap();
        (parent, dir)
    }

    #[test]
    fn what_is_written_is_read_and_belongs_to_this_user_alone() {
        let (_parent, dir) = made();
        dir.write("a", "one").unwrap();
        dir.write("a", "two").unwrap();
        assert_eq!(dir.read("a").as_deref(), Some("two"));
        let mode = std::fs::metadata(dir.path().join("a"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        dir.remove("a");
        assert_eq!(dir.read("a"), None);
    }

    #[test]
    fn of_the_places_before_the_first_safe_one_the_unsafe_are_reported() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        symlink("/tmp", at("link")).unwrap();
        let places = [at("no/hb"), at("link"), at("good")];
        let (dir, refused) = PrivateDir::first_safe(&places, PrivateDir::make).unwrap();
        assert_eq!(dir.path(), at("good"));
        assert!(
            matches!(&refused[..], [PrivateDirError::NotOurs(path, _)] if *path == at("link")),
            "{refused:?}"
        );
    }

    #[test]
    fn a_link_a_pipe_and_a_file_that_others_write_are_not_read() {
        let (parent, dir) = made();
        std::fs::write(parent.path().join("theirs"), "x").unwrap();
        symlink("../theirs", dir.path().join("link")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(dir.path().join("open"), "x").unwrap();
        let writable = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(dir.path().join("open"), writable).unwrap();
        for name in ["link", "pipe", "open", "../theirs", "none"] {
            assert_eq!(dir.read(name), None, "{name}");
        }
    }

    #[test]
    fn a_directory_that_is_a_link_or_writable_by_others_is_refused_and_the_next_place_is_taken() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        std::fs::create_dir(at("open")).unwrap();
        std::fs::set_permissions(at("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
        std::fs::create_dir(at("real")).unwrap();
        symlink("real", at("link")).unwrap();
        let places = ["open", "link", "good"].map(at);
        let (dir, refused) = PrivateDir::first_safe(&places, PrivateDir::make).unwrap();
        assert_eq!(dir.path(), at("good"));
        assert_eq!(refused.len(), 2);
        assert!(refused[0].to_string().contains("no other user can write"));
    }

    #[test]
    fn a_directory_that_is_exchanged_after_it_was_opened_is_not_used() {
        let (parent, dir) = made();
        dir.write("store-url", "ours").unwrap();
        std::fs::rename(dir.path(), parent.path().join("away")).unwrap();
        std::fs::create_dir(dir.path()).unwrap();
        std::fs::write(dir.path().join("store-url"), "theirs").unwrap();
        assert_eq!(dir.read("store-url").as_deref(), Some("ours"));
        assert!(!dir.is_there());
    }
}
