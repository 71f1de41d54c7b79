//! Where the sockets are, and how a path is taken without taking it from another program.

use super::ContractError;
use crate::config::fnv1a;
use hbshell::private_dir::{PrivateDir, PrivateDirError};
use heartbeat::base::id::AgentId;
use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections that wait to be accepted; the agent never waits for the hub to accept.
const BACKLOG: i32 = 1024;
/// Another sidecar may be looking at the same directory; it takes a fraction of a millisecond, on a busy machine until the
/// other one gets a processor again.
const LOCK_TRIES: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(2);
/// The longest path of a socket, in bytes, as the kernel has it.
const PATH_BYTES_MAX: usize = 107;
/// What lets other users pass through a directory, without a look at what is in it.
const PASSAGE: u32 = 0o001;
/// What the path of the datagram socket is longer by.
const LONGER_BY: usize = ".notify".len() - ".sock".len();

/// Two bound sockets. Dropped, they are taken away, if they still are ours.
#[derive(Debug)]
pub(super) struct Sockets {
    stream: Bound,
    datagram: Bound,
    private: Option<PathBuf>,
    /// An entry of the runtime directory that leads to a stream socket elsewhere, for health checks.
    signpost: Option<Bound>,
}

#[derive(Debug)]
struct Bound {
    path: PathBuf,
    inode: Option<(u64, u64)>,
}

/// Sockets, and the descriptors that listen: stream and datagram.
pub(super) type Opened = (Sockets, OwnedFd, OwnedFd);

/// Why a place could not be taken.
#[derive(Debug, thiserror::Error)]
enum Taken {
    #[error("a socket's path has at most 107 bytes, {0:?} has more")]
    TooLong(PathBuf),
    #[error("{0:?} is in use by another program")]
    InUse(PathBuf),
    #[error("{0:?} exists and is not a socket")]
    NoSocket(PathBuf),
    #[error(transparent)]
    NotOurs(#[from] PrivateDirError),
    #[error("{0:?}: {1}")]
    Io(PathBuf, io::Error),
}

/// Takes a place for both sockets: the wanted one, else a private directory, which is logged.
pub(super) fn open(id: &AgentId, wanted: Option<&Path>) -> Result<Opened, ContractError> {
    let taken = match wanted {
        Some(path) => both(path.to_owned(), None, None),
        None => usual(id),
    };
    taken.or_else(|reason| {
        let directory = private_directory().map_err(ContractError::NoPlace)?;
        let opened = both(directory.join("hb.sock"), None, Some(directory.clone()));
        let mut opened = opened.map_err(|error| ContractError::NoPlace(io::Error::other(error)))?;
        opened.0.signpost = signpost(id, opened.0.stream());
        tracing::warn!(
            "{reason}; the agent's socket is {}",
            directory.join("hb.sock").display()
        );
        Ok(opened)
    })
}

/// Takes the same place again, after another program has removed the sockets: the agent knows no other.
pub(super) fn open_again(lost: &mut Sockets) -> Result<Opened, ContractError> {
    let directory = lost.stream.path.parent().unwrap_or(Path::new("."));
    // It is there, or the sockets cannot be: that is the error that is reported.
    let _ = rustix::fs::mkdir(directory, Mode::RWXU);
    let mut opened = both(lost.stream.path.clone(), None, lost.private.clone())
        .map_err(|error| ContractError::NoPlace(io::Error::other(error)))?;
    // What is there now is not theirs, even under the inode number of what was there.
    opened.0.signpost = lost.signpost.take();
    (lost.stream.inode, lost.datagram.inode) = (None, None);
    lost.private = None;
    Ok(opened)
}

impl Sockets {
    pub(super) fn stream(&self) -> &Path {
        &self.stream.path
    }

    pub(super) fn datagram(&self) -> &Path {
        &self.datagram.path
    }

    /// Lets this user connect, and no other than root: an agent that changed its user must reach its sockets. The error
    /// is the directory that is closed to it.
    pub(super) fn give_to(&self, uid: u32) -> Result<(), PathBuf> {
        for bound in [&self.stream, &self.datagram] {
            let owner = rustix::process::Uid::from_raw(uid);
            let given = rustix::fs::chownat(
                rustix::fs::CWD,
                &bound.path,
                Some(owner),
                None,
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            );
            if given.is_err() {
                return Err(bound.path.clone());
            }
        }
        let mut directories = self.stream.path.ancestors().skip(1);
        if let Some(directory) = directories.next() {
            open_to_passage(directory);
        }
        let closed = |directory: &&Path| {
            let found = std::fs::metadata(directory);
            found.is_ok_and(|found| found.uid() != uid && found.mode() & PASSAGE == 0)
        };
        let path = &self.stream.path;
        match path.ancestors().skip(1).find(closed) {
            Some(directory) => Err(directory.to_owned()),
            None => Ok(()),
        }
    }

    /// Makes the signpost again when another program has removed it.
    pub(super) fn look_after_signpost(&mut self) {
        let Some(signpost) = self.signpost.as_mut().filter(|bound| !bound.is_there()) else {
            return;
        };
        // Where the directory is missing it is made; what cannot be made is tried again.
        if PrivateDir::of_user().is_ok() && symlink(&self.stream.path, &signpost.path).is_ok() {
            signpost.inode = inode(&signpost.path);
        }
    }

    /// Whether both paths still lead to these sockets.
    pub(super) fn are_there(&self) -> bool {
        self.stream.is_there() && self.datagram.is_there()
    }
}

impl Bound {
    fn is_there(&self) -> bool {
        self.inode.is_some() && inode(&self.path) == self.inode
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        let bound = [&self.stream, &self.datagram].into_iter();
        for bound in bound.chain(&self.signpost).filter(|bound| bound.is_there()) {
            // There is no remedy at this point.
            let _ = std::fs::remove_file(&bound.path);
        }
        if let Some(directory) = &self.private {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

/// In the runtime directory, under the agent's id; an id that is too long for a path stands there shortened.
fn usual(id: &AgentId) -> Result<Opened, Taken> {
    let (directory, refused) = PrivateDir::of_user()?;
    for error in refused {
        tracing::warn!("{error}; using {} instead", directory.path().display());
    }
    let named = directory.path().join(format!("{id}.sock"));
    let fits = named.as_os_str().len() + LONGER_BY <= PATH_BYTES_MAX;
    let stream = if fits {
        named
    } else {
        directory
            .path()
            .join(format!("{:016x}.sock", shortened(id)))
    };
    both(stream, Some(&directory), None)
}

fn shortened(id: &AgentId) -> u64 {
    fnv1a(id.as_str().bytes())
}

/// Lets other users pass through a runtime directory of root's; what is in it is protected by its own mode.
fn open_to_passage(directory: &Path) {
    let found = std::fs::metadata(directory);
    let private = found.is_ok_and(|found| found.uid() == 0 && found.mode() & 0o777 == 0o700);
    if private {
        let mode = Mode::RWXU | Mode::XGRP | Mode::XOTH;
        let _ = rustix::fs::chmod(directory, mode); // what is still closed is reported
    }
}

/// Lets a health check find a stream socket that is not in the runtime directory.
fn signpost(id: &AgentId, stream: &Path) -> Option<Bound> {
    let (directory, _) = PrivateDir::of_user().ok()?;
    let path = directory
        .path()
        .join(format!("{:016x}.sock", shortened(id)));
    let held = directory.held_path().join(path.file_name()?);
    let is_link = std::fs::symlink_metadata(&held).is_ok_and(|found| found.is_symlink());
    if is_link {
        let _ = std::fs::remove_file(&held); // the next line reports it
    }
    symlink(stream, &held).ok()?;
    let inode = inode(&held);
    Some(Bound { path, inode })
}

/// Binds both. `held`: the directory, held open, when no other user may exchange it.
fn both(
    stream: PathBuf,
    held: Option<&PrivateDir>,
    private: Option<PathBuf>,
) -> Result<Opened, Taken> {
    let datagram = match stream.extension() {
        Some(extension) if extension == "sock" => stream.with_extension("notify"),
        Some(_) | None => {
            let mut name = stream.clone().into_os_string();
            name.push(".notify");
            name.into()
        }
    };
    let directory = match stream.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let held = held.map(PrivateDir::held_path);
    // A stale socket is removed by its finder; two sidecars at once would remove each other's.
    let _lock = lock(&directory).map_err(|error| Taken::Io(directory, error))?;
    // The longer name first: a place that does not hold both holds none.
    let (datagram, datagram_fd) = take(datagram, held.as_deref(), SocketType::DGRAM)?;
    let mut sockets = Sockets {
        stream: Bound {
            path: PathBuf::new(),
            inode: None,
        },
        datagram,
        private,
        signpost: None,
    };
    let (bound, stream_fd) = take(stream, held.as_deref(), SocketType::STREAM)?;
    sockets.stream = bound;
    let path = sockets.stream.path.clone();
    listen(&stream_fd, BACKLOG).map_err(|error| Taken::Io(path, error.into()))?;
    Ok((sockets, stream_fd, datagram_fd))
}

fn lock(directory: &Path) -> io::Result<File> {
    let directory = File::open(directory)?;
    for _ in 0..LOCK_TRIES {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(directory),
            Err(Errno::WOULDBLOCK) => std::thread::sleep(LOCK_PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
    Err(io::Error::other("another program holds its lock"))
}

fn take(path: PathBuf, held: Option<&Path>, kind: SocketType) -> Result<(Bound, OwnedFd), Taken> {
    let address = SocketAddrUnix::new(&path).map_err(|_| Taken::TooLong(path.clone()))?;
    let io = |error: Errno| Taken::Io(path.clone(), error.into());
    let socket = new_socket(kind).map_err(io)?;
    // Before it has a name: there is no moment at which others could connect.
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(io)?;
    let through = held.and_then(|held| Some(held.join(path.file_name()?)));
    let through = through.and_then(|path| SocketAddrUnix::new(path).ok());
    let bound = match through.map(|through| bind(&socket, &through)) {
        None | Some(Err(Errno::NOENT)) => bind(&socket, &address), // without /proc
        Some(bound) => bound,
    };
    match bound {
        Ok(()) => {}
        Err(Errno::ADDRINUSE) => {
            free(&path, &address, kind)?;
            bind(&socket, &address).map_err(io)?;
        }
        Err(error) => return Err(io(error)),
    }
    let inode = inode(&path);
    Ok((Bound { path, inode }, socket))
}

/// Removes a socket without a listener; anything else is left alone.
fn free(path: &Path, address: &SocketAddrUnix, kind: SocketType) -> Result<(), Taken> {
    let io = |error| Taken::Io(path.to_owned(), error);
    let found = std::fs::symlink_metadata(path).map_err(io)?;
    if !found.file_type().is_socket() {
        return Err(Taken::NoSocket(path.to_owned()));
    }
    let probe = new_socket(kind).map_err(|error| io(error.into()))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => std::fs::remove_file(path).map_err(io),
        Ok(()) | Err(_) => Err(Taken::InUse(path.to_owned())),
    }
}

fn new_socket(kind: SocketType) -> Result<OwnedFd, Errno> {
    socket_with(
        AddressFamily::UNIX,
        kind,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )
}

/// A new directory that only this user can enter, with a short name.
fn private_directory() -> io::Result<PathBuf> {
    let made = nix::unistd::mkdtemp("/tmp/hb-XXXXXX");
    let made = made.or_else(|_| nix::unistd::mkdtemp(&std::env::temp_dir().join("hb-XXXXXX")));
    Ok(made?)
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}
