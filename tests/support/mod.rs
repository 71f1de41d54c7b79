//! What the tests of all crates stand on: the programs, a real Redis, conditions with a deadline.
//!
//! No test meets the fleet of the user who runs it: [`clean`] gives every program that a test starts a runtime and a
//! state directory of the test's own.
#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "each test binary uses a part; a test that cannot set up must stop; tests run the real world"
)]

pub(crate) mod alone;
pub(crate) mod cluster;
pub(crate) mod docker;
pub(crate) mod fleet;
pub(crate) mod proxy;
pub(crate) mod pty;
pub(crate) mod receivers;
pub(crate) mod static_program;
pub(crate) mod systemd;
pub(crate) mod unix_redis;

use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a loaded machine of two cores.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// How much of one thing that a failed wait looked at is printed.
const SHOWN_CHARS: usize = 4000;

/// A program of this workspace: the one that cargo built for the tests of its own crate, else built once.
pub(crate) fn program(name: &str) -> PathBuf {
    let built_by_cargo = [
        ("hbsidecar", option_env!("CARGO_BIN_EXE_hbsidecar")),
        ("hbmonitor", option_env!("CARGO_BIN_EXE_hbmonitor")),
    ];
    let own = |(known, path): (&str, Option<&'static str>)| path.filter(|_| known == name);
    if let Some(path) = built_by_cargo.into_iter().find_map(own) {
        return path.into();
    }
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let dir = BUILT.get_or_init(|| {
        // target/debug/deps/test-xyz -> target/debug
        let exe = std::env::current_exe().unwrap();
        let dir = exe.parent().unwrap().parent().unwrap().to_owned();
        let mut build = Command::new(env!("CARGO"));
        build.args([
            "build",
            "--quiet",
            "-p",
            "hbsidecar",
            "-p",
            "hbmonitor",
            "--bins",
        ]);
        if dir.ends_with("release") {
            build.arg("--release");
        }
        let built = build
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .unwrap();
        assert!(built.success(), "the programs do not build");
        dir
    });
    dir.join(name)
}

/// Copies a program, by a process of its own: a test that forks while this one copies would hold the copy open for writing,
/// and no program runs that is open so.
pub(crate) fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").args([from, to]).status().unwrap();
    assert!(copied.success(), "{} is not copied", from.display());
}

/// A process that does not outlive its test.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// With no standard input.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::spawn(command.stdin(Stdio::null()))
    }

    /// With the standard input that the command names.
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// With all that it started.
    pub(crate) fn kill_all(&mut self) {
        let below = descendants(self.0.id());
        let _ = self.0.kill();
        let _ = self.0.wait();
        for pid in below {
            let _ = Command::new("kill")
                .args(["-s", "KILL", &pid.to_string()])
                .stderr(Stdio::null())
                .status();
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.0.id(), name);
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let pid = self.0.id();
        let shows = || format!("of it there is: {:?}", family(pid));
        let ends = || self.0.try_wait().unwrap();
        within(SOON, &format!("process {pid} ends"), shows, ends)
    }

    /// As a shell reports it: a death by signal n is 128+n.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let status = self.wait();
        status.code().or_else(|| Some(128 + status.signal()?))
    }
}

impl Drop for Running {
    /// An agent must not outlive its test.
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// All descendants of a process, as far as /proc shows them.
fn descendants(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task"));
        for task in tasks.into_iter().flatten().flatten() {
            let children =
                std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children: Vec<u32> = children
                .split_whitespace()
                .filter_map(|c| c.parse().ok())
                .collect();
            parents.extend(&children);
            found.extend(children);
        }
    }
    found
}

/// A process and all below it, as `ps` would show them: id, state, command line.
fn family(pid: u32) -> Vec<String> {
    let all = std::iter::once(pid).chain(descendants(pid));
    let shown = all.map(|pid| {
        let state = alone::state(i32::try_from(pid).unwrap());
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("{pid} {state:?} {}", line.replace('\0', " "))
    });
    shown.collect()
}

pub(crate) fn signal(pid: impl std::fmt::Display, name: &str) {
    let mut kill = Command::new("kill");
    let status = kill.args(["-s", name, &pid.to_string()]).status();
    assert!(status.unwrap().success(), "kill -s {name} {pid}");
}

/// A real redis-server of the test's own.
pub(crate) struct Redis {
    server: Option<Running>,
    pub(crate) port: u16,
    /// What its clients must say, and what it was started with beside the usual.
    pub(crate) password: Option<String>,
    arguments: Vec<String>,
    dir: tempfile::TempDir,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// One that keeps every write on its disk.
    pub(crate) fn start_durable() -> Self {
        Self::start_with(&["--appendonly", "yes", "--appendfsync", "always"])
    }

    /// redis-server cannot report a port that the kernel chose: when the port is taken in between, another one is tried.
    fn start_with(arguments: &[&str]) -> Self {
        let mut redis = Self::absent(arguments);
        while !redis.try_up() {
            redis.port = unused_port();
        }
        redis
    }

    /// One that is not there yet.
    pub(crate) fn absent(arguments: &[&str]) -> Self {
        Self {
            server: None,
            port: unused_port(),
            password: None,
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
            dir: place(),
        }
    }

    /// On the port that its clients know; a port that another program holds for a moment is waited for.
    pub(crate) fn up(&mut self) {
        eventually("redis gets its port", || self.try_up().then_some(()));
    }

    /// Whether it answers; false when it ended at its start, as it does when its port is in use.
    fn try_up(&mut self) -> bool {
        let password = self.password.as_deref();
        let started = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(self.dir.path())
            .args(["--unixsocket", "redis.sock"])
            .args(&self.arguments)
            .args(
                password
                    .map(|password| ["--requirepass", password])
                    .into_iter()
                    .flatten(),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is needed: run `make test-deps`");
        let mut server = Running(started);
        let answers = eventually("redis answers or ends", || {
            let ended = server.0.try_wait().unwrap().map(|_| false);
            ended.or_else(|| {
                let mut connection = self.client().get_connection().ok()?;
                let mut info = redis::cmd("INFO");
                let info: String = info.arg("server").query(&mut connection).ok()?;
                // Another one that has the port answers too, while this one ends.
                let own = format!("process_id:{}\r\n", server.0.id());
                info.contains(&own).then_some(true)
            })
        });
        self.server = answers.then_some(server);
        answers
    }

    /// kill -9.
    pub(crate) fn down(&mut self) {
        self.server.take().unwrap().kill();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().0.id()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The same server for programs in another network namespace.
    pub(crate) fn socket_url(&self) -> String {
        format!("redis+unix://{}/redis.sock", self.dir.path().display())
    }

    /// Where it saves.
    pub(crate) fn place(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn client(&self) -> redis::Client {
        let password = self.password.as_ref().map(|p| format!(":{p}@"));
        let address = format!("127.0.0.1:{}", self.port);
        redis::Client::open(format!("redis://{}{address}", password.unwrap_or_default())).unwrap()
    }

    /// Makes the users of docs/redis.md; their password is `x`.
    pub(crate) fn make_users(&self) {
        let page = include_str!("../../docs/redis.md");
        let lines = page.lines().filter(|line| line.starts_with("ACL SETUSER "));
        let made = lines.map(|line| {
            let words: Vec<String> = line
                .split(' ')
                .map(|word| word.replace("SECRET", "x"))
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let () = self.run(&words);
        });
        assert_eq!(made.count(), 2, "one user for each program");
    }

    /// What its users were refused.
    pub(crate) fn refused(&self) -> Vec<String> {
        let log: Vec<redis::Value> = self.run(&["ACL", "LOG"]);
        log.iter().map(|entry| format!("{entry:?}")).collect()
    }

    pub(crate) fn run<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        self.ask(command).unwrap()
    }

    /// Where it may be away, or refuse.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let mut connection = self.client().get_connection()?;
        let (name, args) = command.split_first().unwrap();
        let answer = redis::cmd(name).arg(args).query(&mut connection);
        saw(&command.join(" "), &answer);
        Ok(T::from_redis_value(answer?)?)
    }
}

/// A monitor of the test's own.
pub(crate) struct Monitor {
    pub(crate) process: Running,
    pub(crate) address: String,
}

impl Monitor {
    pub(crate) fn start(redis_url: &str) -> Self {
        Self::start_with(redis_url, |_| {})
    }

    /// With more flags, or a log to read.
    pub(crate) fn start_with(redis_url: &str, more: impl FnOnce(&mut Command)) -> Self {
        let mut command = clean(&program("hbmonitor"));
        command.args(["--redis-url", redis_url]);
        more(&mut command);
        let (process, address) = serving(&mut command);
        let monitor = Self { process, address };
        eventually("the monitor serves", || monitor.get("/-/healthy"));
        monitor
    }

    /// Status code and JSON body.
    pub(crate) fn get(&self, path: &str) -> Option<(u16, Value)> {
        get(&self.address, path)
    }

    pub(crate) fn state(&self, id: &str) -> Option<String> {
        let (_, agent) = self.get(&format!("/health/agents/{id}"))?;
        Some(agent["state"].as_str()?.to_owned())
    }

    pub(crate) fn wait_for(&self, id: &str, state: &str) {
        eventually(&format!("{id} is {state}"), || {
            (self.state(id)? == state).then_some(())
        });
    }
}

/// An hbmonitor on a port that the kernel chose, with the address that it prints.
pub(crate) fn serving(command: &mut Command) -> (Running, String) {
    command.args(["--listen", "127.0.0.1:0"]);
    let mut process = Running::start(command.stdout(Stdio::piped()));
    let address = printed_address(process.0.stdout.take().unwrap());
    (process, address)
}

/// The host and port of the first line with `http://`. What is printed later is read and dropped: a full pipe stops no monitor.
fn printed_address(stdout: ChildStdout) -> String {
    let mut stdout = BufReader::new(stdout);
    let mut printed = String::new();
    while stdout.read_line(&mut printed).unwrap() > 0 {
        let Some((_, rest)) = printed.split_once("http://") else {
            continue;
        };
        let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)));
        let address = rest[..end.unwrap_or(rest.len())].to_owned();
        std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        return address;
    }
    panic!("hbmonitor ended without an address: {printed}");
}

pub(crate) fn get(address: &str, path: &str) -> Option<(u16, Value)> {
    let (code, body) = get_text(address, path)?;
    Some((code, serde_json::from_str(&body).ok()?))
}

pub(crate) fn get_text(address: &str, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(SOON)).ok()?;
    // A client of HTTP/1.0 gets a large listing without chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let code = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n")?.1.to_owned();
    saw(path, &(code, &body));
    Some((code, body))
}

/// What stands in a file; nothing while it is not there.
pub(crate) fn text_of(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    saw(&path.display().to_string(), &text);
    text
}

thread_local! {
    /// Each test has a thread of its own, so this is a directory of the test's own; it goes with the thread.
    static HOME: tempfile::TempDir = place();
}

/// A program without the settings of the user who runs the tests, and without that user's sockets and store.
pub(crate) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["REDIS_URL", "AGENT_ID", "NOTIFY_SOCKET"].contains(&&*text);
        if ours || text.starts_with("HB_") || text.starts_with("WATCHDOG_") {
            command.env_remove(name);
        }
    }
    HOME.with(|home| {
        command.env("XDG_RUNTIME_DIR", home.path());
        command.env("XDG_STATE_HOME", home.path().join("state"));
    });
    command
}

pub(crate) fn sidecar(redis_url: &str, id: &str, interval: &str) -> Command {
    let mut command = clean(&program("hbsidecar"));
    command.args([
        "--redis-url",
        redis_url,
        "--id",
        id,
        "--interval",
        interval,
        "--restart",
        "never",
        "--",
    ]);
    command
}

thread_local! {
    /// What the condition that is waited for looked at the last time, by its name.
    static SEEN: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
}

/// Notes what was looked at, for the report of a wait that fails. Answers over HTTP, answers of Redis and files that are
/// read by this module are noted by themselves.
pub(crate) fn saw(what: &str, shown: &dyn std::fmt::Debug) {
    use std::fmt::Write;
    /// Formatting ends when there is enough: this is done at each look.
    struct Bounded(String);
    impl Write for Bounded {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.push_str(text);
            match self.0.len() < 4 * SHOWN_CHARS {
                true => Ok(()),
                false => Err(std::fmt::Error),
            }
        }
    }
    let mut text = Bounded(String::new());
    let whole = write!(text, "{shown:?}").is_ok();
    let mut kept: String = text.0.chars().take(SHOWN_CHARS).collect();
    if !whole || kept.len() < text.0.len() {
        kept.push('…');
    }
    SEEN.with_borrow_mut(|seen| seen.insert(what.to_owned(), kept));
}

/// Waits for a condition; stops the test when it does not come true [`SOON`], with what it saw last.
///
/// It is true when it is waited for, and no other fact is: two that come by different ways (a counter and the picture of the
/// fleet, an event and a beat, a line in a log) are both waited for.
pub(crate) fn eventually<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    within(SOON, what, String::new, condition)
}

/// The same with a limit of its own, and with what else there is to report.
pub(crate) fn within<T>(
    limit: Duration,
    what: &str,
    shows: impl Fn() -> String,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        SEEN.with_borrow_mut(BTreeMap::clear);
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "waited {limit:?} until {what}\n{}{}",
            shows(),
            SEEN.take()
                .iter()
                .map(|(what, shown)| format!("\n  {what}: {shown}"))
                .collect::<String>()
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A directory of the test's own, in memory where that can be: on a busy disk a write takes longer than an interval.
pub(crate) fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

/// Where `make test-deps` puts Python's tools.
pub(crate) fn venv() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.ancestors().nth(3).unwrap().join("test-python")
}

/// A port that was free a moment ago, below those that the kernel gives to clients: a server that comes back later finds
/// it free again. Only for servers of others; hbmonitor prints what it bound.
pub(crate) fn unused_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() * 131;
    loop {
        let next = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + u16::try_from(next % 22_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
