//! A log file: made when its first line comes, made again when it is gone, bounded where it is ours.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The usual file lies in memory on most machines. At this size it becomes the former one, of which one is kept.
const USUAL_BYTES_MAX: u64 = 512 * 1024;
/// Group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A file that lines are appended to.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<File>,
    is_ours: bool,
}

impl LogFile {
    /// A file that the user named; a log rotation may move it away.
    pub(super) fn named(path: PathBuf) -> Self {
        Self {
            path,
            open: None,
            is_ours: false,
        }
    }

    /// The file in the runtime directory.
    pub(super) fn usual(path: PathBuf) -> Self {
        Self {
            is_ours: true,
            ..Self::named(path)
        }
    }

    /// Whether it is the one in the runtime directory.
    pub(super) fn is_usual(&self) -> bool {
        self.is_ours
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line.
    pub(super) fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let mut file = match self.open.take().filter(|file| self.is_in_place(file)) {
            Some(file) => file,
            None => self.open_it()?,
        };
        if self.is_ours && file.metadata()?.len() > USUAL_BYTES_MAX {
            std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            file = self.open_it()?;
        }
        file.write_all(line)?;
        self.open = Some(file);
        Ok(())
    }

    /// The user's own file stays.
    pub(super) fn remove_if_usual(&self) {
        if self.is_ours && self.open.is_some() {
            for path in [self.path.clone(), self.path.with_extension("log.1")] {
                let _ = std::fs::remove_file(path); // gone already, or its directory is
            }
        }
    }

    /// Whether the path still leads to the open file.
    fn is_in_place(&self, file: &File) -> bool {
        let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
        let open = file.metadata().map(id);
        let found = std::fs::metadata(&self.path).map(id);
        matches!((open, found), (Ok(open), Ok(found)) if open == found)
    }

    fn open_it(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        // A pipe without a reader is refused instead of waited for.
        options
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY);
        if self.is_ours {
            self.check_directory()?;
            options.custom_flags(nix::libc::O_NOFOLLOW);
        }
        options.open(&self.path)
    }

    /// The runtime directory must be ours: in one of others a link could lead anywhere.
    fn check_directory(&self) -> io::Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let found = std::fs::symlink_metadata(directory)?;
        let me = rustix::process::geteuid().as_raw();
        if found.is_dir() && found.uid() == me && found.mode() & WRITABLE_BY_OTHERS == 0 {
            Ok(())
        } else {
            Err(io::Error::other("the directory is not ours alone"))
        }
    }
}
