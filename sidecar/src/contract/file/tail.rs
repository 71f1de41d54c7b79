//! What is new in a file that may be appended to, rewritten, truncated, rotated or replaced between two reads.

use super::super::intake::{Intake, Taken};
use heartbeat::contract::framing::LineSplitter;
use heartbeat::contract::line::LINE_BYTES_MAX;
use rustix::fs::{Mode, OFlags, open};
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const CHUNK: usize = 16 * 1024;
/// So much of the beginning is remembered: when it differs, the file was rewritten.
const HEAD_BYTES: usize = 4096;
/// And so much of what was read last.
const SEAM_BYTES: usize = 64;
/// Of a longer backlog only the end is read: the latest lines count.
const BACKLOG_MAX: u64 = 1024 * 1024;
const BACKLOG_READ: u64 = 64 * 1024;

/// Whether the last line was whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// All that is there was taken.
    Whole,
    /// There is a last line without its end: more may follow.
    Unended,
}

#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    open: Option<Open>,
    lines: LineSplitter,
    /// An unended line that was taken as it was: not taken again when only its end comes.
    settled: Vec<u8>,
}

/// The file under the name at the last read; held open, its inode cannot be reused.
#[derive(Debug)]
struct Open {
    file: File,
    read: u64,
    head: Vec<u8>,
    seam: Vec<u8>,
    written: (i64, i64),
    /// Written at this time, all that was read is an earlier incarnation's.
    stale: Option<(i64, i64)>,
}

impl Tail {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            open: None,
            lines: LineSplitter::new(LINE_BYTES_MAX),
            settled: Vec::new(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Passes over what is there.
    pub(super) fn pass_over(&mut self) {
        let Ok(Some((mut open, found))) = Open::at(&self.path) else {
            return; // nothing to skip; the first read reports why
        };
        if open.pass_to(found.len()).is_ok() {
            open.stale = Some(open.written);
            self.open = Some(open);
        }
    }

    /// The same text, written again, counts as new.
    pub(super) fn new_incarnation(&mut self) {
        self.lines.drop_line(false);
        self.settled.clear();
        if let Some(open) = &mut self.open {
            open.stale = Some(open.written);
        }
    }

    /// Takes all lines that are new.
    pub(super) fn look(&mut self, intake: &Intake) -> Look {
        if let Err(error) = self.try_look(intake) {
            let path = self.path.display();
            intake.warn_once("status_file", || {
                format!("the status file {path} cannot be read: {error}")
            });
            self.forget();
        }
        // What has settled is not waited for again.
        if self.lines.pending().is_empty() || self.lines.pending() == self.settled {
            Look::Whole
        } else {
            Look::Unended
        }
    }

    /// The last line got no end: it is taken as it is.
    pub(super) fn settle(&mut self, intake: &Intake) {
        self.settled = self.lines.pending().to_vec();
        let _: Taken = intake.take(&self.settled, None); // a file is not answered
    }

    fn try_look(&mut self, intake: &Intake) -> io::Result<()> {
        // What was written to the old file before it was replaced.
        self.read(intake)?;
        let current = Open::at(&self.path)?;
        let Some((new, found)) = current else {
            self.forget();
            return Ok(());
        };
        let same = match &self.open {
            Some(open) => identity(&open.file.metadata()?) == identity(&found),
            None => false,
        };
        if !same {
            self.forget();
            self.open = Some(new);
            self.read(intake)?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        self.open = None;
        self.lines = LineSplitter::new(LINE_BYTES_MAX);
        self.settled.clear();
    }

    fn read(&mut self, intake: &Intake) -> io::Result<()> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let found = open.file.metadata()?;
        if open.was_rewritten(&found)? {
            open.rewind();
            self.lines = LineSplitter::new(LINE_BYTES_MAX);
            self.settled.clear();
        }
        open.written = written(&found);
        let backlog = found.len().saturating_sub(open.read);
        if backlog > BACKLOG_MAX {
            open.pass_to(found.len() - BACKLOG_READ)?;
            self.lines.drop_line(true);
            intake.warn_once("backlog", || {
                format!("{backlog} bytes of status lines at once; only the last are read")
            });
        }
        let mut left = BACKLOG_MAX;
        let mut chunk = [0; CHUNK];
        while left > 0 {
            let read = open.file.read(&mut chunk)?;
            let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            left = left.saturating_sub(read as u64);
            open.remember(bytes);
            let settled = &mut self.settled;
            self.lines.feed(bytes, |line| {
                let repeated = line
                    .as_ref()
                    .is_ok_and(|line| !settled.is_empty() && *line == settled.as_slice());
                settled.clear();
                match line {
                    Ok(line) if !repeated => intake.take(line, None),
                    Ok(_) => Taken::Good,
                    Err(error) => intake.refuse(error),
                };
            });
        }
        Ok(())
    }
}

impl Open {
    /// What stands under that name, if it is a file. Never waits: a pipe would.
    fn at(path: &Path) -> io::Result<Option<(Self, Metadata)>> {
        let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        match std::fs::metadata(path) {
            Ok(found) if found.is_file() => {}
            Ok(found) if found.is_dir() => return Err(io::Error::other("it is a directory")),
            Ok(_) => return Err(io::Error::other("it is no regular file")),
            Err(error) if missing(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(error) if missing(&error.into()) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let found = file.metadata()?;
        if !found.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        if is_anothers(path, &found) {
            return Err(io::Error::other(
                "it is another user's, in a directory that all may write to",
            ));
        }
        let open = Self {
            file,
            read: 0,
            head: Vec::new(),
            seam: Vec::new(),
            written: written(&found),
            stale: None,
        };
        Ok(Some((open, found)))
    }

    /// Whether what was read is not what stands there now. Appending leaves the beginning and the seam as they were.
    fn was_rewritten(&mut self, found: &Metadata) -> io::Result<bool> {
        if found.len() < self.read {
            return Ok(true);
        }
        if written(found) == self.written && found.len() == self.read {
            return Ok(false);
        }
        let stale = self.stale.is_some_and(|at| at != written(found)) && found.len() == self.read;
        let seam_at = self.read - self.seam.len() as u64;
        let same = self.holds(0, self.head.len())? == self.head
            && self.holds(seam_at, self.seam.len())? == self.seam;
        self.file.seek(SeekFrom::Start(self.read))?;
        Ok(stale || !same)
    }

    fn holds(&mut self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.seek(SeekFrom::Start(at))?;
        match self.file.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            // It became shorter while we read.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn rewind(&mut self) {
        self.read = 0;
        self.head.clear();
        self.seam.clear();
        self.stale = None;
        let _ = self.file.seek(SeekFrom::Start(0)); // a regular file can always be read from its beginning
    }

    fn remember(&mut self, bytes: &[u8]) {
        self.read += bytes.len() as u64;
        let wanted = HEAD_BYTES.saturating_sub(self.head.len()).min(bytes.len());
        self.head.extend(bytes.iter().take(wanted));
        self.seam
            .extend(bytes.iter().skip(bytes.len().saturating_sub(SEAM_BYTES)));
        let over = self.seam.len().saturating_sub(SEAM_BYTES);
        self.seam.drain(..over);
    }

    /// Continues from there as if all before it had been read.
    fn pass_to(&mut self, at: u64) -> io::Result<()> {
        let head = usize::try_from(at).map_or(HEAD_BYTES, |at| at.min(HEAD_BYTES));
        self.head = self.holds(0, head)?;
        let seam = usize::try_from(at).map_or(SEAM_BYTES, |at| at.min(SEAM_BYTES));
        self.seam = self.holds(at - seam as u64, seam)?;
        self.read = at;
        self.file.seek(SeekFrom::Start(at))?;
        Ok(())
    }
}

fn identity(of: &Metadata) -> (u64, u64) {
    (of.dev(), of.ino())
}

fn written(of: &Metadata) -> (i64, i64) {
    (of.mtime(), of.mtime_nsec())
}

/// Whether another user may have made the file: he would speak for the agent.
fn is_anothers(path: &Path, found: &Metadata) -> bool {
    const WRITABLE_BY_ALL: u32 = 0o002;
    let directory = path
        .parent()
        .and_then(|directory| std::fs::metadata(directory).ok());
    let shared = directory.is_some_and(|directory| directory.mode() & WRITABLE_BY_ALL != 0);
    let ours = [0, rustix::process::geteuid().as_raw()];
    shared && !ours.contains(&found.uid())
}
