//! The open descriptors of one process: what each stands for, and the ends of pipes and terminals among them.

use super::read::Reader;
use super::table::{DESCRIPTORS_MAX, Table};
use crate::process::handle::file::attributes;
use heartbeat::verdict::sample::{Channel, End, Kind, NAMED_PIPE, Target, Why};
use heartbeat::wire::beat::cut;
use rustix::fs::{AtFlags, CWD, FileType, statat};
use std::collections::BTreeMap;

const PATH_CHARS_MAX: usize = 200;
/// Permissions of a link in `fd`: what the descriptor was opened for.
const MAY_READ: u32 = 0o400;
const MAY_WRITE: u32 = 0o200;

/// The descriptors of one process, by number.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    /// A living thread: /proc shows the descriptors under its number.
    pub(super) through: u32,
    kinds: BTreeMap<i32, Kind>,
    /// Why they could not be read, or not all.
    pub(super) gap: Option<Why>,
}

impl Descriptors {
    /// Reads them all, through a living thread of the process: under the number of one that has ended there are none.
    pub(super) fn of(through: u32) -> Self {
        let mut kinds = BTreeMap::new();
        let gap = match Table::open(through, DESCRIPTORS_MAX) {
            Ok(table) => {
                for (fd, target) in table.links() {
                    kinds.insert(fd, named_pipe(through, fd, kind(target)));
                }
                table.is_cut.then_some(Why::TooMany)
            }
            Err(why) => Some(why),
        };
        Self {
            through,
            kinds,
            gap,
        }
    }

    /// What descriptor this is; none when it is not open or could not be read.
    pub(super) fn kind(&self, fd: i32) -> Option<&Kind> {
        self.kinds.get(&fd)
    }

    /// What a system call's argument stands for.
    pub(super) fn target(&self, argument: u64) -> Target {
        let fd = argument as u32 as i32;
        let kind = match (self.kinds.get(&fd), self.gap) {
            (Some(kind), _) => kind.clone(),
            (None, why) => Kind::Unreadable(why.unwrap_or(Why::Gone)),
        };
        Target {
            fd,
            kind,
            full: false,
        }
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (i32, &Kind)> {
        self.kinds.iter().map(|(fd, kind)| (*fd, kind))
    }

    /// Whether one of them leads to a device whose driver may report to an eventfd.
    pub(super) fn has_driver(&self) -> bool {
        self.kinds.values().any(is_driver)
    }

    /// The ends of pipes, and masters of terminals.
    pub(super) fn ends(&self, reader: &mut Reader, pid: u32) -> Vec<End> {
        let named = self
            .iter()
            .filter(|(_, kind)| !matches!(kind, Kind::Socket(_)));
        named
            .filter_map(|(fd, kind)| end(reader, self.through, fd, kind))
            .map(|end| End { pid, ..end })
            .collect()
    }

    /// Whether one of them may send its process a signal of any number when something happens there: it was asked to
    /// (`O_ASYNC`), it has a lease on its file, or it is a message queue.
    pub(super) fn signals_events(&self, reader: &mut Reader) -> bool {
        const ASYNC: u32 = 0o20_000;
        let pid = self.through;
        self.iter().any(|(fd, kind)| {
            let Ok(info) = reader.text(&format!("/proc/{pid}/fdinfo/{fd}")) else {
                return false; // it was closed
            };
            let asked = flags_in(&info).is_some_and(|flags| flags & ASYNC != 0);
            let leased = info
                .lines()
                .any(|line| line.starts_with("lock:") && line.contains(": LEASE "));
            asked || leased || {
                let mount = field(&info, "mnt_id:").map(str::to_owned);
                may_be_queue(kind) && mount.is_some_and(|id| !is_mounted(reader, pid, &id))
            }
        })
    }
}

/// The flags that a descriptor was opened with, or was given since (`open(2)`).
pub(super) fn flags(reader: &mut Reader, pid: u32, fd: i32) -> Option<u32> {
    let info = reader.text(&format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    flags_in(&info)
}

fn flags_in(info: &str) -> Option<u32> {
    u32::from_str_radix(field(info, "flags:")?, 8).ok()
}

/// What a line of such a file says of this name.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// A message queue is a file at the root of a file system that is mounted nowhere.
fn may_be_queue(kind: &Kind) -> bool {
    const IN_MEMORY: [&str; 3] = ["/memfd:", "/SYSV", "/anon_hugepage"];
    matches!(kind, Kind::File(path) if path.rfind('/') == Some(0)
        && !IN_MEMORY.iter().any(|start| path.starts_with(start)))
}

fn is_mounted(reader: &mut Reader, pid: u32, mount: &str) -> bool {
    let mounts = reader.text(&format!("/proc/{pid}/mountinfo"));
    mounts.is_ok_and(|mounts| {
        mounts
            .lines()
            .any(|line| line.split(' ').next() == Some(mount))
    })
}

/// The end of a pipe or socket, or the master of a terminal, that this descriptor is.
pub(super) fn end(reader: &mut Reader, pid: u32, fd: i32, kind: &Kind) -> Option<End> {
    match kind {
        Kind::Pipe(inode) => {
            let path = format!("/proc/{pid}/fd/{fd}");
            let mode = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?.st_mode;
            Some(End {
                pid,
                fd,
                of: Channel::Pipe(*inode),
                reads: mode & MAY_READ != 0,
                writes: mode & MAY_WRITE != 0,
            })
        }
        Kind::File(path) if path.ends_with("/ptmx") => {
            let info = reader.text(&format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
            let index: u32 = field(&info, "tty-index:")?.parse().ok()?;
            let of = Channel::Terminal(format!("/dev/pts/{index}"));
            Some(End {
                pid,
                fd,
                of,
                reads: true,
                writes: true,
            })
        }
        Kind::Socket(inode) => Some(End {
            pid,
            fd,
            of: Channel::Socket(*inode),
            reads: true,
            writes: true,
        }),
        Kind::File(_) | Kind::Terminal(_) | Kind::Internal(_) | Kind::Unreadable(_) => None,
    }
}

/// A pipe with a name in the file system is a pipe all the same.
pub(super) fn named_pipe(pid: u32, fd: i32, kind: Kind) -> Kind {
    let Kind::File(path) = &kind else { return kind };
    if path.starts_with("/dev/") {
        return kind;
    }
    match attributes(&format!("/proc/{pid}/fd/{fd}")) {
        Ok(found) if found.kind == FileType::Fifo => Kind::Pipe(found.inode | NAMED_PIPE),
        Ok(_) | Err(_) => kind,
    }
}

/// A link's text as what it names.
pub(super) fn kind(target: String) -> Kind {
    let inode = |prefix: &str| {
        let rest = target.strip_prefix(prefix)?.strip_suffix(']')?;
        rest.parse::<u64>().ok()
    };
    if let Some(inode) = inode("pipe:[") {
        return Kind::Pipe(inode);
    }
    if let Some(inode) = inode("socket:[") {
        return Kind::Socket(inode);
    }
    if let Some(name) = target.strip_prefix("anon_inode:") {
        return Kind::Internal(cut(
            name.trim_matches(['[', ']']).to_owned(),
            PATH_CHARS_MAX,
        ));
    }
    let path = cut(target, PATH_CHARS_MAX);
    let terminal = path
        .strip_prefix("/dev/")
        .is_some_and(|device| device.starts_with("tty") || device == "console" || is_slave(device));
    if terminal {
        Kind::Terminal(path)
    } else {
        Kind::File(path)
    }
}

/// Whether this is a device that does more than memory and terminals do, or something that such a device made (`kvm-vm`).
fn is_driver(kind: &Kind) -> bool {
    const PLAIN: [&str; 7] = ["null", "zero", "full", "random", "urandom", "ptmx", "tty"];
    match kind {
        Kind::File(path) => path.strip_prefix("/dev/").is_some_and(|device| {
            let folders = ["shm/", "pts/", "mqueue/"];
            !PLAIN.contains(&device) && !folders.iter().any(|folder| device.starts_with(folder))
        }),
        Kind::Internal(name) => ["kvm", "vfio"].iter().any(|maker| name.starts_with(maker)),
        Kind::Pipe(_) | Kind::Socket(_) | Kind::Terminal(_) | Kind::Unreadable(_) => false,
    }
}

fn is_slave(device: &str) -> bool {
    let number = device.strip_prefix("pts/");
    number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a program in Python that has done this may be sent a signal by one of its descriptors.
    fn signals_events(done: &str) -> bool {
        use std::io::Read;
        let code = format!(
            "import ctypes, fcntl, os, socket, tempfile, time\n{done}\nprint('.', flush=True)\ntime.sleep(500)"
        );
        let mut python = std::process::Command::new("python3");
        python
            .args(["-c", &code])
            .stdin(std::process::Stdio::null());
        let mut child = python.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut mark = [0];
        child
            .stdout
            .as_mut()
            .unwrap()
            .read_exact(&mut mark)
            .unwrap();
        let found = Descriptors::of(child.id()).signals_events(&mut Reader::default());
        child.kill().unwrap();
        child.wait().unwrap();
        found
    }

    #[test]
    fn what_may_send_a_signal_when_something_happens_at_it_is_known() {
        let asked = "s = socket.socket(); fcntl.fcntl(s, fcntl.F_SETFL, os.O_RDWR | os.O_ASYNC)";
        let leased = "f = tempfile.NamedTemporaryFile(); r = os.open(f.name, os.O_RDONLY); f.close(); \
                      fcntl.fcntl(r, fcntl.F_SETLEASE, fcntl.F_RDLCK)";
        let queue = "name = b'/hb-test-%d' % os.getpid(); lib = ctypes.CDLL('librt.so.1'); \
                     q = lib.mq_open(name, os.O_CREAT, 0o600, None); assert q > 0; lib.mq_unlink(name)";
        let plain = "s = socket.socket(); t = tempfile.TemporaryFile(); m = os.memfd_create('m')";
        for (done, signals) in [(asked, true), (leased, true), (queue, true), (plain, false)] {
            assert_eq!(signals_events(done), signals, "{done}");
        }
    }

    #[test]
    fn a_link_says_what_a_descriptor_is() {
        let terminal = |path: &str| Kind::Terminal(path.to_owned());
        for (link, expected) in [
            ("pipe:[42]", Kind::Pipe(42)),
            ("socket:[7]", Kind::Socket(7)),
            ("/dev/tty", terminal("/dev/tty")),
            ("/dev/pts/3", terminal("/dev/pts/3")),
            ("/dev/pts/ptmx", Kind::File("/dev/pts/ptmx".into())),
            ("anon_inode:[eventfd]", Kind::Internal("eventfd".into())),
            ("pipe:[x]", Kind::File("pipe:[x]".into())),
        ] {
            assert_eq!(kind(link.to_owned()), expected);
        }
    }

    #[test]
    fn a_device_is_told_from_memory_and_terminals() {
        for driver in [
            "/dev/dri/renderD128",
            "/dev/nvidia0",
            "/dev/kvm",
            "anon_inode:kvm-vm",
        ] {
            assert!(is_driver(&kind(driver.to_owned())), "{driver}");
        }
        for plain in [
            "/dev/null",
            "/dev/pts/3",
            "/dev/shm/x",
            "/tmp/dev/x",
            "pipe:[3]",
            "anon_inode:[eventfd]",
        ] {
            assert!(!is_driver(&kind(plain.to_owned())), "{plain}");
        }
    }

    #[test]
    fn both_ends_of_a_pipe_are_found() {
        let (_reader, _writer) = std::io::pipe().unwrap();
        let pid = std::process::id();
        let ends = Descriptors::of(pid).ends(&mut Reader::default(), pid);
        assert!(ends.iter().any(|e| e.reads && !e.writes), "{ends:?}");
        assert!(ends.iter().any(|e| e.writes && !e.reads), "{ends:?}");
    }

    #[test]
    fn a_descriptor_that_is_not_open_is_named_so() {
        let target = Descriptors::of(std::process::id()).target(999_999);
        assert_eq!(target.kind, Kind::Unreadable(Why::Gone));
    }
}
