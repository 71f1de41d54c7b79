//! The file that keeps the keys without a time to live, or with a long one: one table of a redb database, a row for each part
//! of a key.
//!
//! Nothing about the file may end or stop the program. A file that cannot be read is renamed and a new one begun; one
//! that cannot be written leaves the store in memory, and is tried again. The database crate may panic on a damaged file,
//! so every call into it is guarded.

use super::changes::{Part, Write};
use bytes::Bytes;
use redb::backends::{FileBackend, InMemoryBackend};
use redb::{
    Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageBackend,
    StorageError, TableDefinition,
};
use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The file's name in the state directory.
const FILE: &str = "store.redb";
/// The database's cache of pages: it is read once and then only written.
const CACHE_BYTES: usize = 1 << 20;
/// How long another process may take to give the file up: a monitor that ends while the next one starts.
const LOCK_WITHIN: Duration = Duration::from_secs(2);
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// Key, kind of the part and its name.
type Name = (&'static [u8], u8, &'static [u8]);

const ROWS: TableDefinition<'_, Name, &[u8]> = TableDefinition::new("rows");

/// Why nothing is kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Two stores in one file would destroy each other's data.
    #[error(
        "another hbmonitor keeps its store in {0}; give this one a directory of its own with --state-dir"
    )]
    InUse(PathBuf),
    /// The directory cannot be made.
    #[error("cannot make the directory {0}: {1}; choose another one with --state-dir")]
    Directory(PathBuf, std::io::Error),
    /// The file cannot be opened, made or renamed.
    #[error(
        "cannot use {0}: {1}; make it readable and writable, or choose another directory with --state-dir"
    )]
    File(PathBuf, String),
}

/// Why one attempt failed.
#[derive(Debug)]
enum Fault {
    /// Another process has it.
    InUse,
    /// Its content cannot be read by any means.
    Damaged(String),
    /// The machine refused: no space, no permission, a bad disk.
    Refused(String),
}

/// A file that was opened, and what was in it.
#[derive(Debug)]
pub struct Kept {
    pub(super) file: DiskFile,
    pub(super) rows: Vec<(Bytes, Part, Bytes)>,
}

/// The file as it is written.
#[derive(Debug)]
pub(super) struct DiskFile {
    path: PathBuf,
    /// `None` while it cannot be written.
    database: Option<Database>,
    /// Device and inode of the file that is open.
    inode: Option<(u64, u64)>,
}

impl Kept {
    /// Opens the store's file in `directory`, which is made when it is not there. A damaged file is renamed and a new one
    /// begun. A file that cannot be written now is read all the same; the store tries to write it later.
    ///
    /// # Errors
    /// The file is in use by another process, or cannot be read or made: then nothing is kept.
    pub fn open(directory: &Path) -> Result<Self, KeepError> {
        make_directory(directory)
            .map_err(|error| KeepError::Directory(directory.to_owned(), error))?;
        let path = directory.join(FILE);
        let deadline = Instant::now() + LOCK_WITHIN;
        loop {
            match open(&path) {
                Ok((database, rows)) => {
                    let file = DiskFile {
                        inode: inode(&path),
                        database: Some(database),
                        path,
                    };
                    return Ok(Self { file, rows });
                }
                Err(Fault::InUse) if Instant::now() < deadline => std::thread::sleep(LOCK_RETRY),
                Err(Fault::InUse) => return Err(KeepError::InUse(path)),
                Err(Fault::Damaged(why)) => set_aside(&path, &why)?,
                Err(Fault::Refused(why)) => return Self::unwritable(path, why),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Reads a file that cannot be written, through a copy in memory.
    fn unwritable(path: PathBuf, why: String) -> Result<Self, KeepError> {
        match guarded(|| copy(&path)) {
            Ok(rows) => {
                tracing::error!(
                    "the embedded store cannot write {}: {why}; it goes on in memory and tries again",
                    path.display()
                );
                let file = DiskFile {
                    inode: None,
                    database: None,
                    path,
                };
                Ok(Self { file, rows })
            }
            Err(_) => Err(KeepError::File(path, why)),
        }
    }
}

impl DiskFile {
    /// Whether the file holds what was read from it, so that changes alone can be written.
    pub(super) fn is_open(&self) -> bool {
        self.database.is_some()
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes all these changes or none, and waits until they are on the disk. After an error the next writes must be
    /// everything ([`Write::Clear`] first): the file is opened again for them.
    pub(super) fn write(&mut self, writes: &[Write]) -> Result<(), String> {
        let database = match self.database.take() {
            Some(database) if inode(&self.path) == self.inode => database,
            Some(database) => {
                discard(database);
                return Err("another program has removed or replaced it".to_owned());
            }
            None => self.open_again()?,
        };
        // After any failure the database refuses everything until it was opened again.
        match guarded(AssertUnwindSafe(|| commit(&database, writes))) {
            Ok(()) => {
                self.database = Some(database);
                Ok(())
            }
            Err(fault) => {
                discard(database);
                Err(fault.text())
            }
        }
    }

    fn open_again(&mut self) -> Result<Database, String> {
        let made = self.path.parent().map(make_directory);
        made.transpose().map_err(|error| error.to_string())?;
        let opened = match open(&self.path) {
            Err(Fault::Damaged(why)) => {
                set_aside(&self.path, &why).map_err(|error| error.to_string())?;
                open(&self.path)
            }
            opened => opened,
        };
        let (database, _) = opened.map_err(Fault::text)?;
        self.inode = inode(&self.path);
        Ok(database)
    }
}

fn make_directory(directory: &Path) -> std::io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Closes a database, which may panic on a file that it cannot write.
fn discard(database: Database) {
    let _ = guarded(move || {
        drop(database);
        Ok(())
    });
}

impl Fault {
    fn text(self) -> String {
        match self {
            Self::InUse => "another process uses it".to_owned(),
            Self::Damaged(why) | Self::Refused(why) => why,
        }
    }
}

type Rows = Vec<(Bytes, Part, Bytes)>;

fn open(path: &Path) -> Result<(Database, Rows), Fault> {
    guarded(|| {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| Fault::Refused(error.to_string()))?;
        let database = checked().create_with_backend(FileBackend::new(file)?)?;
        let rows = read(&database)?;
        Ok((database, rows))
    })
}

/// What a file holds, without touching it.
fn copy(path: &Path) -> Result<Rows, Fault> {
    let bytes = std::fs::read(path).map_err(|error| Fault::Refused(error.to_string()))?;
    let memory = InMemoryBackend::new();
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    memory.set_len(length).map_err(refused)?;
    memory.write(0, &bytes).map_err(refused)?;
    read(&checked().create_with_backend(memory)?)
}

fn checked() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.set_check_integrity_on_open(true);
    builder
}

fn read(database: &Database) -> Result<Rows, Fault> {
    let transaction = database.begin_read().map_err(redb::Error::from)?;
    let table = match transaction.open_table(ROWS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(redb::Error::from(error).into()),
    };
    let (mut rows, mut unreadable, mut last) = (Vec::new(), 0_u64, Bytes::new());
    for row in table.iter().map_err(redb::Error::from)? {
        let (name, value) = row.map_err(redb::Error::from)?;
        let (key, kind, part) = name.value();
        // Rows of one key stand together and share its name.
        if last != key {
            last = Bytes::copy_from_slice(key);
        }
        match Part::decode(kind, part) {
            Some(part) => rows.push((last.clone(), part, Bytes::copy_from_slice(value.value()))),
            None => unreadable += 1, // of a later version: it costs itself
        }
    }
    if unreadable > 0 {
        tracing::warn!("the embedded store left {unreadable} rows out that it cannot read");
    }
    Ok(rows)
}

fn commit(database: &Database, writes: &[Write]) -> Result<(), Fault> {
    let transaction = database.begin_write().map_err(redb::Error::from)?;
    if writes.contains(&Write::Clear) {
        transaction.delete_table(ROWS).map_err(redb::Error::from)?;
    }
    {
        let mut table = transaction.open_table(ROWS).map_err(redb::Error::from)?;
        for write in writes {
            let done = match write {
                Write::Clear => Ok(()),
                Write::Forget(key) => {
                    let all = (&key[..], 0, &[][..])..=(&key[..], u8::MAX, &[][..]);
                    table.retain_in(all, |_, _| false)
                }
                Write::Put(key, part, value) => {
                    let (kind, name) = part.encode();
                    table
                        .insert((&key[..], kind, &name[..]), &value[..])
                        .map(drop)
                }
                Write::Remove(key, part) => {
                    let (kind, name) = part.encode();
                    table.remove((&key[..], kind, &name[..])).map(drop)
                }
            };
            done.map_err(redb::Error::from)?;
        }
    }
    transaction.commit().map_err(redb::Error::from)?;
    Ok(())
}

/// Renames a file that cannot be read, so that it can be examined and the fleet starts.
fn set_aside(path: &Path, why: &str) -> Result<(), KeepError> {
    let failed = |error: std::io::Error| KeepError::File(path.to_owned(), error.to_string());
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let aside = (0..)
        .map(|n| path.with_file_name(format!("{FILE}.damaged-{}", seconds + n)))
        .find(|aside| !aside.exists())
        .ok_or_else(|| failed(ErrorKind::AlreadyExists.into()))?;
    std::fs::rename(path, &aside).map_err(failed)?;
    tracing::error!(
        "the embedded store's file {} is damaged ({why}); it was renamed to {} and the store begins without data: \
         running sidecars register their agents again",
        path.display(),
        aside.display()
    );
    Ok(())
}

/// Runs a call into the database; a panic there means that the file is damaged.
fn guarded<T>(call: impl FnOnce() -> Result<T, Fault>) -> Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(Fault::Damaged("its structure is inconsistent".to_owned())))
}

fn refused(error: impl std::fmt::Display) -> Fault {
    Fault::Refused(error.to_string())
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        let text = error.to_string();
        let in_use = matches!(
            error,
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch
        );
        // Not an `Io` of another kind: that is the machine's.
        let damaged = matches!(
            &error,
            redb::Error::Corrupted(_)
                | redb::Error::RepairAborted
                | redb::Error::UpgradeRequired(_)
                | redb::Error::TableTypeMismatch { .. }
                | redb::Error::TableIsMultimap(_)
                | redb::Error::TypeDefinitionChanged { .. }
        ) || matches!(&error, redb::Error::Io(io) if is_content(io.kind()));
        match (in_use, damaged) {
            (true, _) => Self::InUse,
            (false, true) => Self::Damaged(text),
            (false, false) => Self::Refused(text),
        }
    }
}

/// What the database says of bytes that are no database, or too few.
fn is_content(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::InvalidData | ErrorKind::UnexpectedEof | ErrorKind::InvalidInput
    )
}

impl From<DatabaseError> for Fault {
    fn from(error: DatabaseError) -> Self {
        redb::Error::from(error).into()
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        redb::Error::from(error).into()
    }
}
