//! Where the sockets are, and how a path is taken without taking it from another program.

use super::ContractError;
use heartbeat::base::id::AgentId;
use heartbeat::base::runtime_dir::runtime_dir;
use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use rustix::process::geteuid;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections that wait to be accepted; the agent never waits for the hub to accept.
const BACKLOG: i32 = 1024;
/// Another sidecar may be looking at the same directory; it takes a fraction of a millisecond.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(2);
/// Group and others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Two bound sockets. Dropped, they are taken away, if they still are ours.
#[derive(Debug)]
pub(super) struct Sockets {
    stream: Bound,
    datagram: Bound,
    private: Option<PathBuf>,
}

#[derive(Debug)]
struct Bound {
    path: PathBuf,
    inode: Option<(u64, u64)>,
}

/// Why a place could not be taken.
#[derive(Debug, thiserror::Error)]
enum Taken {
    #[error("a socket's path has at most 107 bytes, {0:?} has more")]
    TooLong(PathBuf),
    #[error("{0:?} is in use by another program")]
    InUse(PathBuf),
    #[error("{0:?} exists and is not a socket")]
    NoSocket(PathBuf),
    #[error("the directory {0:?} is writable by other users")]
    NotOurs(PathBuf),
    #[error("{0:?}: {1}")]
    Io(PathBuf, io::Error),
}

/// Takes a place for both sockets: the wanted one, else a private directory, which is logged.
pub(super) fn open(
    id: &AgentId,
    wanted: Option<&Path>,
) -> Result<(Sockets, OwnedFd, OwnedFd), ContractError> {
    let taken = match wanted {
        Some(path) => both(path.to_owned(), None),
        None => usual(id),
    };
    taken.or_else(|reason| {
        let directory = private_directory().map_err(ContractError::NoPlace)?;
        let opened = both(directory.join("hb.sock"), Some(directory.clone()));
        let opened = opened.map_err(|error| ContractError::NoPlace(io::Error::other(error)))?;
        tracing::warn!(
            "{reason}; the agent's socket is {}",
            directory.join("hb.sock").display()
        );
        Ok(opened)
    })
}

impl Sockets {
    pub(super) fn stream(&self) -> &Path {
        &self.stream.path
    }

    pub(super) fn datagram(&self) -> &Path {
        &self.datagram.path
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for bound in [&self.stream, &self.datagram] {
            if bound.inode.is_some() && inode(&bound.path) == bound.inode {
                // There is no remedy at this point.
                let _ = std::fs::remove_file(&bound.path);
            }
        }
        if let Some(directory) = &self.private {
            let _ = std::fs::remove_dir(directory);
        }
    }
}

fn usual(id: &AgentId) -> Result<(Sockets, OwnedFd, OwnedFd), Taken> {
    let xdg = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let directory = runtime_dir(xdg, geteuid().as_raw());
    let io = |error| Taken::Io(directory.clone(), error);
    let made = DirBuilder::new().mode(0o700).create(&directory);
    if let Err(error) = made.or_else(|e| {
        if e.kind() == io::ErrorKind::AlreadyExists {
            Ok(())
        } else {
            Err(e)
        }
    }) {
        return Err(io(error));
    }
    let found = std::fs::symlink_metadata(&directory).map_err(io)?;
    let ours = found.is_dir()
        && found.uid() == geteuid().as_raw()
        && found.mode() & WRITABLE_BY_OTHERS == 0;
    if !ours {
        return Err(Taken::NotOurs(directory));
    }
    both(directory.join(format!("{id}.sock")), None)
}

fn both(stream: PathBuf, private: Option<PathBuf>) -> Result<(Sockets, OwnedFd, OwnedFd), Taken> {
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
    // A stale socket is removed by its finder; two sidecars at once would remove each other's.
    let _lock = lock(&directory).map_err(|error| Taken::Io(directory, error))?;
    // The longer name first: a place that does not hold both holds none.
    let (datagram, datagram_fd) = take(datagram, SocketType::DGRAM)?;
    let mut sockets = Sockets {
        stream: Bound {
            path: PathBuf::new(),
            inode: None,
        },
        datagram,
        private,
    };
    let (bound, stream_fd) = take(stream, SocketType::STREAM)?;
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

fn take(path: PathBuf, kind: SocketType) -> Result<(Bound, OwnedFd), Taken> {
    let address = SocketAddrUnix::new(&path).map_err(|_| Taken::TooLong(path.clone()))?;
    let io = |error: Errno| Taken::Io(path.clone(), error.into());
    let socket = new_socket(kind).map_err(io)?;
    // Before it has a name: there is no moment at which others could connect.
    fchmod(&socket, Mode::RUSR | Mode::WUSR).map_err(io)?;
    match bind(&socket, &address) {
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
