//! The world of one row: its directory, its peer, its network, its terminal, its siblings. All of it goes when it is dropped.
//!
//! Every process of a row carries `ZOO_ROW` in its environment: that is how the last of them is found, wherever it went.

use crate::leftovers::{carriers, end_all};
use crate::net::Pair;
use crate::support::{clean, eventually};
use crate::table::{Act, Io, Peer, Row};
use nix::libc;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zoo/programs");
const AGENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agents");
const SOAK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/soak");
/// Where no packet comes back from: an address for documentation, behind a peer that forwards nothing.
const NOWHERE: &str = "192.0.2.1";

pub(crate) struct World {
    row: Row,
    scale: f64,
    token: String,
    pub(crate) dir: tempfile::TempDir,
    facts: HashMap<String, String>,
    peer: Option<String>,
    net: Option<Pair>,
    children: Vec<Child>,
    /// Ends that are held open and never used, for as long as the world stands.
    held: Vec<Held>,
    frozen: Option<Freezer>,
    listens: bool,
}

enum Held {
    Reader(#[expect(dead_code, reason = "held, not used")] std::io::PipeReader),
    Writer(#[expect(dead_code, reason = "held, not used")] std::io::PipeWriter),
    Master(#[expect(dead_code, reason = "held, not used")] File),
}

struct Freezer {
    group: PathBuf,
    switch: PathBuf,
    thaw: &'static str,
}

impl World {
    /// Peer, network and siblings of a row are up.
    pub(crate) fn open(row: &Row, scale: f64) -> Self {
        static OPENED: AtomicU32 = AtomicU32::new(0);
        let n = OPENED.fetch_add(1, Ordering::Relaxed);
        let mut world = Self {
            row: row.clone(),
            scale,
            token: format!("hbzoo-{}-{n}-{}", std::process::id(), row.name),
            dir: tempfile::Builder::new()
                .prefix(&format!("hbzoo-{}-", std::process::id()))
                .tempdir()
                .unwrap(),
            facts: HashMap::new(),
            peer: None,
            net: None,
            children: Vec::new(),
            held: Vec::new(),
            frozen: None,
            listens: false,
        };
        world.open_peer();
        for command in row.siblings.clone() {
            let (pid, first) = world.sibling(&command, None);
            world.facts.insert("sibling".into(), pid.to_string());
            assert!(
                !first.is_empty() || command[0] == "flock",
                "{command:?} says nothing"
            );
        }
        world
    }

    /// The row's own command line.
    pub(crate) fn command(&self) -> Vec<String> {
        self.row.run.iter().map(|word| self.fill(word)).collect()
    }

    /// Starts a command line in this world: the row's own, or one that wraps it.
    pub(crate) fn start(&mut self, argv: &[String]) -> u32 {
        let mut argv = argv.to_vec();
        if matches!(self.row.io, Io::Pty | Io::UndrainedPty) {
            // No process is its group's leader yet, so setsid replaces itself instead of forking.
            argv.splice(0..0, ["setsid".to_owned(), "--ctty".to_owned()]);
        }
        let net = self.net.as_ref().map(|pair| pair.client().to_owned());
        let mut command = self.prepare(&argv, net.as_deref());
        command.stderr(self.output("err.log"));
        match self.row.io {
            Io::Null => {
                command.stdin(Stdio::null()).stdout(self.output("out.log"));
            }
            Io::OpenStdin => {
                let (reader, writer) = std::io::pipe().unwrap();
                command.stdin(reader).stdout(self.output("out.log"));
                self.held.push(Held::Writer(writer));
            }
            Io::Undrained => {
                let (reader, writer) = std::io::pipe().unwrap();
                command.stdin(Stdio::null()).stdout(writer);
                self.held.push(Held::Reader(reader));
            }
            Io::Slow => {
                let (mut reader, writer) = std::io::pipe().unwrap();
                command.stdin(Stdio::null()).stdout(writer);
                let pause = Duration::from_secs_f64(40.0 * self.scale);
                let mut part = vec![0; 65536];
                // It ends with the program.
                std::thread::spawn(move || {
                    while reader.read(&mut part).is_ok_and(|n| n > 0) {
                        std::thread::park_timeout(pause);
                    }
                });
            }
            Io::Pty | Io::UndrainedPty => self.terminal(&mut command),
        }
        let child = command.spawn().unwrap();
        let pid = child.id();
        self.children.push(child);
        pid
    }

    /// What the program wrote into its mark, once it is there.
    pub(crate) fn marked(&mut self) -> bool {
        let Ok(text) = std::fs::read_to_string(self.dir.path().join("mark")) else {
            return false;
        };
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            self.facts.insert(key.to_owned(), value.to_owned());
        }
        true
    }

    /// Does to the marked program what its row says. `pids`: the agent, and who watches it.
    pub(crate) fn act(&mut self, agent: u32, watcher: Option<u32>) {
        match self.row.act {
            None => {}
            Some(Act::Drop) => self.net.as_ref().unwrap().cut(),
            Some(Act::Gdb) => {
                let argv = ["gdb", "-q", "-nx", "-p"].map(str::to_owned);
                let argv = [&argv[..], &[agent.to_string()]].concat();
                let (reader, writer) = std::io::pipe().unwrap();
                let mut gdb = self.prepare(&argv, None);
                gdb.stdin(reader)
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                self.children.push(gdb.spawn().unwrap());
                self.held.push(Held::Writer(writer));
            }
            Some(Act::Freeze1) => {
                self.freeze("cgroup", "freezer.state", ["FROZEN", "THAWED"], agent)
            }
            Some(Act::Freeze2) => self.freeze("cgroup2", "cgroup.freeze", ["1", "0"], agent),
            Some(Act::Pause) => self.pause(agent, watcher),
        }
    }

    /// A pid or another fact of this world.
    pub(crate) fn fact(&self, name: &str) -> Option<&str> {
        self.facts.get(name).map(String::as_str)
    }

    /// A text with the facts in it: `{holder}` becomes a pid.
    pub(crate) fn with_facts(&self, text: &str) -> String {
        self.facts
            .iter()
            .fold(text.to_owned(), |text, (key, value)| {
                text.replace(&format!("{{{key}}}"), value)
            })
    }

    /// What it printed, on a file or a drained terminal.
    pub(crate) fn printed(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("out.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What went wrong, for the table.
    pub(crate) fn complained(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("err.log")).unwrap_or_default()
    }

    /// The exit code, once the started command has ended.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let started = self.children.last_mut().unwrap();
        let status = started.try_wait().unwrap()?;
        Some(status.code().unwrap_or(-1))
    }

    /// Whether the peer is out of reach from where the agent is.
    pub(crate) fn is_cut(&self) -> bool {
        let (host, port) = self.peer.as_ref().unwrap().rsplit_once(':').unwrap();
        let script = format!("exec 3<>/dev/tcp/{host}/{port}");
        let argv = ["timeout", "1", "bash", "-c", &script].map(str::to_owned);
        let client = self.net.as_ref().unwrap().client();
        !self
            .prepare(&argv, Some(client))
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    }

    /// Sockets of the status contract, for a program that runs without a sidecar. What it says lands in files.
    pub(crate) fn listen_for_status(&mut self) {
        self.listens = true;
        let lines = UnixListener::bind(self.dir.path().join("hb.sock")).unwrap();
        let notes = UnixDatagram::bind(self.dir.path().join("notify.sock")).unwrap();
        let said = self.output("said");
        let notified = self.output("notified");
        std::thread::spawn(move || {
            for stream in lines.incoming().flatten() {
                let mut said = said.try_clone().unwrap();
                std::thread::spawn(move || std::io::copy(&mut { stream }, &mut said));
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(length) = notes.recv(&mut buffer) {
                let _ = (&notified).write_all(&[&buffer[..length], b"\n"].concat());
            }
        });
    }

    pub(crate) fn received(&self, file: &str) -> String {
        std::fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
    }

    /// Processes of this row that are still there, siblings and peer included.
    pub(crate) fn alive(&self) -> Vec<i32> {
        carriers(|row| row == self.token)
    }

    fn open_peer(&mut self) {
        let Some(kind) = self.row.peer else { return };
        let host = match kind {
            Peer::Local => "127.0.0.1",
            Peer::Remote | Peer::Model => {
                self.net = Some(Pair::new());
                crate::net::SERVER
            }
        };
        let program = match kind {
            Peer::Local | Peer::Remote => "{zoo}/fake_llm.py",
            Peer::Model => "{agents}/model.py",
        };
        let argv = ["{python}", program, host].map(str::to_owned);
        let server = self.net.as_ref().map(|pair| pair.server().to_owned());
        let (_, port) = self.sibling(&argv, server.as_deref());
        self.peer = Some(format!("{host}:{port}"));
    }

    /// Starts a process beside the agent; comes back with its first line.
    fn sibling(&mut self, words: &[String], net: Option<&str>) -> (u32, String) {
        let argv: Vec<String> = words.iter().map(|word| self.fill(word)).collect();
        let mut command = self.prepare(&argv, net);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (pid, stdout) = (child.id(), child.stdout.take().unwrap());
        self.children.push(child);
        if argv[0] == "flock" {
            let lock = |line: &str| line.contains("FLOCK") && line.contains(&format!(" {pid} "));
            eventually("the sibling holds its lock", || {
                let locks = std::fs::read_to_string("/proc/locks").unwrap();
                locks.lines().any(lock).then_some(())
            });
            return (pid, String::new());
        }
        let mut first = String::new();
        BufReader::new(stdout).read_line(&mut first).unwrap();
        (pid, first.trim().to_owned())
    }

    /// A command with this world's environment, in a network namespace or not.
    fn prepare(&self, argv: &[String], net: Option<&str>) -> Command {
        let inside = net.map(|name| format!("--net=/run/netns/{name}"));
        let argv: Vec<&str> = inside
            .iter()
            .flat_map(|net| ["nsenter", net])
            .chain(argv.iter().map(String::as_str))
            .collect();
        let dir = self.dir.path();
        let mut command = clean(Path::new(argv[0]));
        command
            .args(&argv[1..])
            .current_dir(dir)
            .env("ZOO_ROW", &self.token)
            .env("ZOO_SCALE", self.scale.to_string())
            .env("ZOO_DIR", dir)
            .env("ZOO_MARK", dir.join("mark"))
            .env("ZOO_AGENTS", installed_agents())
            .env("ZOO_PYTHON", python())
            .env("ZOO_VENV", venv())
            .env("ZOO_NOWHERE", NOWHERE)
            .env("TERM", "xterm")
            .env_remove("PAGER")
            .env_remove("PYTHONUNBUFFERED");
        if let Some(peer) = &self.peer {
            command.env("ZOO_PEER", peer);
        }
        if net.is_some() {
            command.env("ZOO_NET", "own");
        }
        if self.listens {
            command
                .env("HB_SOCKET", dir.join("hb.sock"))
                .env("NOTIFY_SOCKET", dir.join("notify.sock"));
        }
        command
    }

    fn fill(&self, word: &str) -> String {
        if let Some(seconds) = word
            .strip_prefix("{scaled:")
            .and_then(|w| w.strip_suffix('}'))
        {
            return (seconds.parse::<f64>().unwrap() * self.scale).to_string();
        }
        word.replace("{python}", python())
            .replace("{node}", "node")
            .replace("{zoo}", PROGRAMS)
            .replace("{soak}", SOAK)
            .replace("{agents}", AGENTS)
            .replace("{bin}", &compiled().display().to_string())
            .replace("{dir}", &self.dir.path().display().to_string())
    }

    fn output(&self, name: &str) -> File {
        let path = self.dir.path().join(name);
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .unwrap()
    }

    fn terminal(&mut self, command: &mut Command) {
        // Close-on-exec from the start: a row that is spawned meanwhile must not hold this terminal.
        let flags =
            nix::fcntl::OFlag::O_RDWR | nix::fcntl::OFlag::O_NOCTTY | nix::fcntl::OFlag::O_CLOEXEC;
        let master = nix::pty::posix_openpt(flags).unwrap();
        nix::pty::grantpt(&master).unwrap();
        nix::pty::unlockpt(&master).unwrap();
        let path = nix::pty::ptsname_r(&master).unwrap();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(path)
            .unwrap();
        let mut size = Command::new("stty");
        size.args(["rows", "24", "cols", "80"])
            .stdin(slave.try_clone().unwrap());
        assert!(size.status().unwrap().success(), "the terminal has no size");
        command
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave);
        let mut master = File::from(std::os::fd::OwnedFd::from(master));
        self.held.push(Held::Master(master.try_clone().unwrap()));
        if self.row.io == Io::Pty {
            let mut out = self.output("out.log");
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length) = master.read(&mut buffer) {
                    let _ = out.write_all(&buffer[..length]);
                }
            });
        }
    }

    fn freeze(&mut self, kind: &str, switch: &str, [freeze, thaw]: [&'static str; 2], agent: u32) {
        let root = freezer_root(kind).unwrap();
        let group = root.join(&self.token);
        std::fs::create_dir(&group).unwrap();
        let switch = group.join(switch);
        self.frozen = Some(Freezer {
            switch: switch.clone(),
            thaw,
            group: group.clone(),
        });
        std::fs::write(group.join("cgroup.procs"), agent.to_string()).unwrap();
        std::fs::write(switch, freeze).unwrap();
    }

    /// Everything stops at once and goes on at once, the watcher before the watched and after it.
    fn pause(&self, agent: u32, watcher: Option<u32>) {
        std::thread::park_timeout(Duration::from_secs(5));
        let mut pids: Vec<u32> = watcher.into_iter().chain([agent]).collect();
        let send = |pids: &[u32], name| {
            pids.iter()
                .for_each(|pid| crate::support::signal(*pid, name))
        };
        send(&pids, "STOP");
        let until = std::time::Instant::now() + Duration::from_secs_f64(900.0 * self.scale);
        while let Some(left) = until.checked_duration_since(std::time::Instant::now()) {
            std::thread::park_timeout(left);
        }
        pids.reverse();
        send(&pids, "CONT");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(frozen) = &self.frozen {
            let _ = std::fs::write(&frozen.switch, frozen.thaw);
        }
        end_all(|row| row == self.token);
        for child in &mut self.children {
            let _ = child.wait();
        }
        if let Some(frozen) = &self.frozen {
            let _ = std::fs::remove_dir(&frozen.group);
        }
    }
}

/// Why a row cannot be on this machine; none when it can.
pub(crate) fn lacks(row: &Row) -> Option<String> {
    let kind = match row.act {
        Some(Act::Freeze1) => "cgroup",
        Some(Act::Freeze2) => "cgroup2",
        Some(Act::Drop | Act::Gdb | Act::Pause) | None => return None,
    };
    let missing = freezer_root(kind).is_none();
    missing.then(|| format!("no {kind} with a freezer is mounted"))
}

fn freezer_root(kind: &str) -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let fits = |line: &&str| {
        let words: Vec<&str> = line.split(' ').collect();
        let freezes = kind == "cgroup2" || words[3].split(',').any(|option| option == "freezer");
        words[2] == kind && freezes
    };
    let line = mounts.lines().find(fits)?;
    Some(PathBuf::from(line.split(' ').nth(1)?))
}

/// The interpreter itself: a shim in front of it would be the agent.
pub(crate) fn python() -> &'static str {
    static FOUND: OnceLock<String> = OnceLock::new();
    FOUND.get_or_init(|| {
        let asked = Command::new("python3")
            .args(["-c", "import sys; print(sys.executable)"])
            .output();
        String::from_utf8(asked.unwrap().stdout)
            .unwrap()
            .trim()
            .to_owned()
    })
}

/// Where `scripts/test-deps --agents` puts real agents: target/test-agents.
fn installed_agents() -> PathBuf {
    venv().with_file_name("test-agents")
}

/// Where `make test-deps` puts Python's test tools: target/test-python.
fn venv() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(3).unwrap().join("test-python")
}

/// The directory of the programs in C, compiled once a run.
fn compiled() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let sources = std::fs::read_dir(PROGRAMS).unwrap();
        let sources = sources.map(|entry| entry.unwrap().path());
        for source in sources.filter(|path| path.extension().is_some_and(|e| e == "c")) {
            let name = source.file_stem().unwrap().to_str().unwrap();
            let fresh = dir.join(format!("{name}.{}", std::process::id()));
            let mut cc = Command::new("cc");
            cc.args(["-O1", "-pthread", "-o"]).arg(&fresh).arg(&source);
            assert!(cc.status().unwrap().success(), "{name} does not compile");
            // Another test may be running the old one.
            std::fs::rename(fresh, dir.join(name)).unwrap();
        }
        dir.to_owned()
    })
}
