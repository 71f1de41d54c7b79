//! A day of an operator: a Redis, monitors, agents, and what must hold at the end of every story.

use crate::machine;
use crate::support::fleet::path_with_programs;
use crate::support::{
    Redis, Running, clean, eventually, get, get_text, place, program, serving, signal, within,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The usual interval of an agent here.
pub(crate) const INTERVAL: Duration = Duration::from_millis(500);
/// How long a change may take to be seen, on a loaded machine of two cores.
const PROMPTLY: Duration = Duration::from_secs(30);

/// Plays a story with a Redis and a monitor, then looks whether an honest beat was thrown away.
pub(crate) fn a_day(story: impl FnOnce(&Day)) {
    a_day_with(Redis::start(), |day| {
        day.new_monitor();
        story(day);
    });
}

/// The same with a Redis of another kind, and no monitor yet.
pub(crate) fn a_day_with(redis: Redis, story: impl FnOnce(&Day)) {
    let day = Day {
        redis: RefCell::new(redis),
        place: place(),
        monitors: RefCell::default(),
    };
    story(&day);
    let monitors = day.monitors.borrow();
    assert!(!monitors.is_empty(), "a story without a monitor");
    for monitor in monitors.iter() {
        monitor.assert_no_honest_beat_was_thrown_away();
    }
}

/// What one story plays with. All of it ends with the story.
pub(crate) struct Day {
    pub(crate) redis: RefCell<Redis>,
    place: tempfile::TempDir,
    monitors: RefCell<Vec<Rc<Watcher>>>,
}

impl Day {
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Agents stand in this directory: what they wait for is put there.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn url(&self) -> String {
        self.redis.borrow().url()
    }

    /// The URL of one of the databases of our Redis.
    pub(crate) fn database(&self, number: u8) -> String {
        format!("{}/{number}", self.url())
    }

    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        self.redis.borrow().run(command)
    }

    pub(crate) fn redis_is_killed(&self) {
        self.redis.borrow_mut().down();
    }

    pub(crate) fn redis_starts(&self) {
        self.redis.borrow_mut().up();
    }

    /// A monitor of our Redis; the first one is the one that stories ask.
    pub(crate) fn new_monitor(&self) -> Rc<Watcher> {
        self.new_monitor_of(&self.url(), &[])
    }

    pub(crate) fn new_monitor_of(&self, url: &str, flags: &[&str]) -> Rc<Watcher> {
        let monitor = Rc::new(Watcher {
            address: RefCell::default(),
            url: RefCell::new(url.to_owned()),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            place: self.place.path().to_owned(),
            log: RefCell::default(),
            process: RefCell::default(),
            outdated_beats: Cell::default(),
            begun: machine::now(),
        });
        monitor.start();
        self.monitors.borrow_mut().push(Rc::clone(&monitor));
        monitor
    }

    pub(crate) fn monitor(&self) -> Rc<Watcher> {
        Rc::clone(&self.monitors.borrow()[0])
    }

    /// kill -9 of the monitor, and its start.
    pub(crate) fn monitor_is_killed_and_started(&self) {
        self.monitor().kill();
        self.monitor().start();
    }

    /// An agent to be started, with `hbsidecar` around it.
    pub(crate) fn agent(&self, id: &str) -> Launch<'_> {
        let launch = self.unnamed_agent();
        launch.with(&["--id", id])
    }

    /// One that has no id of its own.
    pub(crate) fn unnamed_agent(&self) -> Launch<'_> {
        Launch {
            day: self,
            before: Vec::new(),
            flags: Vec::new(),
            interval: format!("{}ms", INTERVAL.as_millis()),
            url: self.url(),
            runtime: self.runtime("r"),
        }
    }

    /// An ordinary agent, when it is healthy.
    pub(crate) fn start(&self, id: &str) -> Sidecar {
        self.agent(id).starts()
    }

    /// A process that others start: no sidecar is around it.
    pub(crate) fn foreign(&self, command: &[&str]) -> Running {
        let mut process = self.clean(command[0].as_ref(), &self.runtime("r"));
        Running::start(process.args(&command[1..]))
    }

    /// `hbsidecar healthcheck` of an agent: exit code, and what is printed.
    pub(crate) fn healthcheck(&self, id: &str, flags: &[&str]) -> (i32, String) {
        let socket = self.runtime("r").join(format!("hb/{id}.sock"));
        let socket = socket.to_str().unwrap();
        let mut command = self.clean(&program("hbsidecar"), &self.runtime("r"));
        command
            .args(["healthcheck", "--socket", socket])
            .args(flags);
        output(&mut command)
    }

    /// `hbsidecar healthcheck` without a socket.
    pub(crate) fn healthcheck_of_the_only_one(&self) -> (i32, String) {
        let mut command = self.clean(&program("hbsidecar"), &self.runtime("r"));
        output(command.arg("healthcheck"))
    }

    /// What a person types into a shell to start an agent.
    pub(crate) fn typed(&self, id: &str, command: &str) -> String {
        format!(
            "{} --id {id} --interval {}ms --redis-url {} -- {command}",
            program("hbsidecar").display(),
            INTERVAL.as_millis(),
            self.url()
        )
    }

    /// The hash of the agent, field by field.
    pub(crate) fn hash(&self, id: &str) -> HashMap<String, String> {
        self.ask(&["HGETALL", &format!("agent:{id}")])
    }

    /// Time passes until the agent's hash has expired.
    pub(crate) fn its_hash_expires(&self, id: &str) {
        eventually(&format!("the hash of {id} expires"), || {
            self.hash(id).is_empty().then_some(())
        });
    }

    /// So many beats of the agent are in the store.
    pub(crate) fn has_beaten(&self, id: &str, times: u64) {
        eventually(&format!("{id} has beaten {times} times"), || {
            let sequence: u64 = self.hash(id).get("sequence")?.parse().ok()?;
            (sequence >= times).then_some(())
        });
    }

    /// What the stream says of the agent's life, oldest first.
    pub(crate) fn events(&self, id: &str) -> Vec<String> {
        const LIFE: [&str; 5] = ["registered", "exited", "restarted", "stopped", "crash_loop"];
        let entries: Vec<(String, HashMap<String, String>)> =
            self.ask(&["XRANGE", "hb:events", "-", "+"]);
        let of_agent = entries.into_iter().map(|(_, entry)| entry);
        of_agent
            .filter(|entry| entry["agent"] == id && LIFE.contains(&entry["event"].as_str()))
            .map(|entry| entry["event"].clone())
            .collect()
    }

    // What the first monitor says; the same of others is asked of them.

    pub(crate) fn becomes(&self, id: &str, state: &str) {
        self.monitor().becomes(id, state);
    }

    pub(crate) fn stays(&self, id: &str, state: &str, time: Duration) {
        self.monitor().stays(id, state, time);
    }

    pub(crate) fn shows(&self, id: &str, field: &str, value: impl Into<Value>) {
        self.monitor().shows(id, field, value);
    }

    pub(crate) fn says(&self, id: &str, field: &str, words: &str) {
        self.monitor().says(id, field, words);
    }

    pub(crate) fn health(&self, id: &str) -> Value {
        self.monitor().health(id).unwrap()
    }

    pub(crate) fn story(&self, id: &str, states: &[&str]) {
        self.monitor().story_is(id, states);
    }

    /// How many agents are in this state.
    pub(crate) fn count(&self, state: &str) -> u64 {
        self.monitor().fleet("")[state].as_u64().unwrap()
    }

    /// How many agents a filter of `/health/agents` finds.
    pub(crate) fn agents_in(&self, query: &str) -> usize {
        self.monitor().fleet(query)["agents"]
            .as_array()
            .unwrap()
            .len()
    }

    pub(crate) fn all_are(&self, agents: u64, state: &str) {
        eventually(&format!("{agents} agents are {state}"), || {
            (self.count(state) == agents).then_some(())
        });
    }

    fn runtime(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn clean(&self, program: &Path, runtime: &Path) -> Command {
        let mut command = clean(program);
        command
            .current_dir(self.place.path())
            .env("XDG_RUNTIME_DIR", runtime)
            .env("XDG_STATE_HOME", self.path("state"))
            .env("PATH", path_with_programs())
            .env("NO_COLOR", "1");
        command
    }

    fn log(&self, name: &str) -> PathBuf {
        static LOGS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = LOGS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.path(&format!("{name}-{number}.log"))
    }
}

impl Drop for Day {
    /// Each process that the story started has its directory in the environment, also those that were left alone.
    fn drop(&mut self) {
        if std::thread::panicking() {
            for monitor in self.monitors.borrow().iter() {
                eprintln!("hbmonitor said:\n{}", monitor.log());
            }
        }
        let ours = self.place.path().as_os_str().as_encoded_bytes().to_owned();
        for process in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = process.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let environment = std::fs::read(process.path().join("environ")).unwrap_or_default();
            if environment.windows(ours.len()).any(|part| part == ours) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // it may have ended by now
            }
        }
    }
}

/// A command line in the making.
pub(crate) struct Launch<'a> {
    day: &'a Day,
    before: Vec<String>,
    flags: Vec<String>,
    interval: String,
    url: String,
    runtime: PathBuf,
}

impl Launch<'_> {
    pub(crate) fn with(mut self, flags: &[&str]) -> Self {
        self.flags.extend(flags.iter().map(|&flag| flag.to_owned()));
        self
    }

    pub(crate) fn every(mut self, interval: &str) -> Self {
        interval.clone_into(&mut self.interval);
        self
    }

    /// With another store, or another database.
    pub(crate) fn store(mut self, url: &str) -> Self {
        url.clone_into(&mut self.url);
        self
    }

    /// With a runtime directory of its own: sockets do not meet those of the others.
    pub(crate) fn apart(mut self, name: &str) -> Self {
        self.runtime = self.day.runtime(name);
        self
    }

    /// Started by this command: `env`, `unshare`.
    pub(crate) fn below(mut self, command: &[&str]) -> Self {
        self.before = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// On a machine of this name.
    pub(crate) fn on_host(mut self, name: &str) -> Self {
        let script = format!("hostname {name} && exec \"$@\"");
        let mut before = vec!["unshare", "--uts"];
        if !geteuid().is_root() {
            before.push("--map-root-user");
        }
        before.extend(["sh", "-c", &script, "sh"]);
        self.before = before.into_iter().map(str::to_owned).collect();
        self.apart(name)
    }

    /// An agent that sleeps, when it is healthy.
    pub(crate) fn starts(self) -> Sidecar {
        let monitor = self.day.monitor();
        let id = self.id();
        let sidecar = self.sleeps();
        monitor.shows(&id, "pid", sidecar.agent());
        monitor.becomes(&id, "healthy");
        sidecar
    }

    pub(crate) fn sleeps(self) -> Sidecar {
        self.command(&["sleep", "1000"])
    }

    pub(crate) fn runs(self, script: &str) -> Sidecar {
        self.command(&["sh", "-c", script])
    }

    pub(crate) fn command(self, command: &[&str]) -> Sidecar {
        self.spawn(&[&["--"], command].concat())
    }

    pub(crate) fn attaches(self, pid: u32) -> Sidecar {
        self.spawn(&["--pid", &pid.to_string()])
    }

    pub(crate) fn matches(self, pattern: &str) -> Sidecar {
        self.spawn(&["--match", pattern])
    }

    fn id(&self) -> String {
        let at = self.flags.iter().position(|flag| flag == "--id").unwrap();
        self.flags[at + 1].clone()
    }

    fn spawn(self, rest: &[&str]) -> Sidecar {
        let sidecar = program("hbsidecar");
        let mut words = self.before.clone();
        words.push(sidecar.to_str().unwrap().to_owned());
        words.extend(["--interval".into(), self.interval.clone()]);
        words.extend(["--redis-url".into(), self.url.clone()]);
        words.extend(self.flags.clone());
        let path = self.day.log("sidecar");
        let log = File::create(&path).unwrap();
        let mut command = self.day.clean(words[0].as_ref(), &self.runtime);
        command
            .args(&words[1..])
            .args(rest)
            .stdout(Stdio::from(log.try_clone().unwrap()))
            .stderr(Stdio::from(log));
        Sidecar {
            process: Running::start(&mut command),
            log: path,
        }
    }
}

/// A running `hbsidecar`; it and its agent end with the story.
pub(crate) struct Sidecar {
    process: Running,
    log: PathBuf,
}

impl Sidecar {
    pub(crate) fn pid(&self) -> u32 {
        self.process.0.id()
    }

    /// The process that it started. On a host of its own it was a shell before, which had children too.
    pub(crate) fn agent(&self) -> u32 {
        eventually("the sidecar has a child", || {
            let name = std::fs::read_to_string(format!("/proc/{}/comm", self.pid())).ok()?;
            let child = self.children().first().copied()?;
            (name == "hbsidecar\n").then_some(child)
        })
    }

    pub(crate) fn children(&self) -> Vec<u32> {
        let pid = self.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let numbers = children.split_whitespace();
        numbers.map(|child| child.parse().unwrap()).collect()
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// TERM, as by an operator or systemd; the exit code.
    pub(crate) fn stop(&mut self) -> i32 {
        self.signal("TERM");
        self.ends()
    }

    /// Waits for its end; the exit code as a shell tells it.
    pub(crate) fn ends(&mut self) -> i32 {
        self.process.exit_code().unwrap()
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.process.0.try_wait().unwrap().is_none()
    }

    /// kill -9, and the agent runs on.
    pub(crate) fn is_killed(&mut self) {
        self.process.kill();
    }

    /// kill -9 of the sidecar and its agent, as when the machine is switched off.
    pub(crate) fn dies_with_its_agent(&mut self) {
        let agents = self.children();
        self.is_killed();
        for agent in agents {
            signal(agent, "KILL");
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    pub(crate) fn logs(&self, words: &str) {
        eventually(&format!("the sidecar logs {words:?}"), || {
            self.log().contains(words).then_some(())
        });
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("hbsidecar {} said:\n{}", self.pid(), self.log());
        }
    }
}

/// A monitor that can be ended and started again; each start gets a port from the kernel.
pub(crate) struct Watcher {
    address: RefCell<String>,
    url: RefCell<String>,
    flags: Vec<String>,
    place: PathBuf,
    log: RefCell<PathBuf>,
    process: RefCell<Option<Running>>,
    outdated_beats: Cell<bool>,
    begun: Instant,
}

impl Watcher {
    /// Each start has a log of its own.
    pub(crate) fn start(&self) {
        let number = std::fs::read_dir(&self.place).unwrap().count();
        let path = self.place.join(format!("monitor-{number}.log"));
        let log = OpenOptions::new().create_new(true).append(true).open(&path);
        let mut command = clean(&program("hbmonitor"));
        command
            .args(["--redis-url", &self.url.borrow()])
            .args(&self.flags)
            .current_dir(&self.place)
            .env("XDG_RUNTIME_DIR", &self.place)
            .env("XDG_STATE_HOME", self.place.join("state"))
            .env("NO_COLOR", "1")
            .stderr(Stdio::from(log.unwrap()));
        self.log.replace(path);
        let (process, address) = serving(&mut command);
        self.process.replace(Some(process));
        self.address.replace(address);
        eventually("the monitor serves", || get(&self.address(), "/-/healthy"));
    }

    fn address(&self) -> String {
        self.address.borrow().clone()
    }

    /// The next start is with another store.
    pub(crate) fn moves_to(&self, url: &str) {
        self.url.replace(url.to_owned());
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.borrow().as_ref().unwrap().0.id()
    }

    pub(crate) fn kill(&self) {
        self.assert_no_honest_beat_was_thrown_away();
        self.process.take().unwrap().kill();
    }

    pub(crate) fn stop(&self) {
        self.assert_no_honest_beat_was_thrown_away();
        let mut process = self.process.take().unwrap();
        process.signal("TERM");
        assert_eq!(process.exit_code(), Some(0), "a monitor that is stopped");
    }

    /// In this story a sidecar that has lost its id goes on beating.
    pub(crate) fn expects_outdated_beats(&self) {
        self.outdated_beats.set(true);
    }

    pub(crate) fn is_ready(&self) {
        self.answers("/-/ready", 200);
    }

    pub(crate) fn is_not_ready(&self) {
        self.answers("/-/ready", 503);
    }

    fn answers(&self, path: &str, code: u16) {
        eventually(&format!("{path} answers {code}"), || {
            (get_text(&self.address(), path)?.0 == code).then_some(())
        });
    }

    pub(crate) fn fleet(&self, query: &str) -> Value {
        let (_, fleet) = get(&self.address(), &format!("/health/agents{query}")).unwrap();
        fleet
    }

    /// What HTTP says of an agent that is known.
    pub(crate) fn health(&self, id: &str) -> Option<Value> {
        let (code, health) = get(&self.address(), &format!("/health/agents/{id}"))?;
        (code == 200).then_some(health)
    }

    pub(crate) fn state(&self, id: &str) -> Option<String> {
        Some(self.health(id)?["state"].as_str()?.to_owned())
    }

    pub(crate) fn becomes(&self, id: &str, state: &str) {
        self.shows(id, "state", state);
    }

    /// Waits until HTTP shows this value; `a/b` is a field in a field.
    pub(crate) fn shows(&self, id: &str, field: &str, value: impl Into<Value>) {
        let value = value.into();
        self.wait_for(id, &format!("{field} = {value}"), |health| {
            health.pointer(&format!("/{field}")) == Some(&value)
        });
    }

    /// Waits until these words are part of what HTTP says.
    pub(crate) fn says(&self, id: &str, field: &str, words: &str) {
        self.wait_for(id, &format!("{words:?} in its {field}"), |health| {
            health[field]
                .as_str()
                .is_some_and(|text| text.contains(words))
        });
    }

    fn wait_for(&self, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) {
        let story = || format!("its story is {:?}", self.story(id));
        within(PROMPTLY, &format!("{id} shows {what}"), story, || {
            self.health(id).filter(&is_so).map(drop)
        });
    }

    pub(crate) fn stays(&self, id: &str, state: &str, time: Duration) {
        self.holds(time, || {
            let health = self.health(id).unwrap();
            let is_late = state == "healthy" && health["state"] == "missing" && self.was_busy();
            assert!(
                health["state"] == state || is_late,
                "{state} of {id}: {health}"
            );
        });
    }

    /// HTTP never calls the agent healthy while this time passes.
    pub(crate) fn is_never_healthy(&self, id: &str, time: Duration) {
        self.holds(time, || {
            let health = self.health(id);
            assert_ne!(self.state(id).as_deref(), Some("healthy"), "{health:?}");
        });
    }

    /// What is asserted holds all the time.
    pub(crate) fn holds(&self, time: Duration, assertion: impl Fn()) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            assertion();
            std::thread::park_timeout(Duration::from_millis(40));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&*self.log.borrow()).unwrap()
    }

    fn was_busy(&self) -> bool {
        machine::was_busy_since(self.begun)
    }

    /// The states that the log tells of an agent, in order.
    pub(crate) fn story(&self, id: &str) -> Vec<String> {
        let log = self.log();
        let states = log.lines().filter_map(|line| state_in(line, id));
        states.map(str::to_owned).collect()
    }

    pub(crate) fn story_is(&self, id: &str, states: &[&str]) {
        let story = || format!("it is {:?}, busy: {}", self.story(id), self.was_busy());
        within(
            PROMPTLY,
            &format!("the story of {id} is {states:?}"),
            story,
            || tells(&self.story(id), states, self.was_busy()).then_some(()),
        );
    }

    /// What became of beats, as `/metrics` counts them.
    fn beats(&self, result: &str) -> u64 {
        let (_, text) = get_text(&self.address(), "/metrics").expect("the monitor serves");
        let name = format!("hb_beats_total{{result=\"{result}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&name));
        count.expect("beats are counted").parse().unwrap()
    }

    /// Counts by state agree with the agents; how many beats were taken so far.
    pub(crate) fn fleet_and_beats(&self) -> u64 {
        let fleet = self.fleet("");
        let agents = fleet["agents"].as_array().unwrap();
        for state in ["healthy", "missing", "failed", "stopped"] {
            let count = agents
                .iter()
                .filter(|agent| agent["state"] == state)
                .count();
            assert_eq!(fleet[state], count, "{fleet}");
        }
        self.beats("applied")
    }

    fn assert_no_honest_beat_was_thrown_away(&self) {
        if self.process.borrow().is_none() {
            return; // it was looked at when it was ended
        }
        for result in ["duplicate", "outdated", "doubted", "refused"] {
            if result == "outdated" && self.outdated_beats.get() {
                continue;
            }
            assert_eq!(self.beats(result), 0, "beats were thrown away as {result}");
        }
    }
}

/// Whether a story is this one. On a busy machine beats are really late: an agent may be missing in between.
fn tells(story: &[String], states: &[&str], busy: bool) -> bool {
    let mut expected = states.iter().peekable();
    let (mut before, mut last) = ("", "");
    for state in story.iter().map(String::as_str) {
        let is_late = state == "missing" || (before == "missing" && state == last);
        if expected.peek().is_some_and(|next| **next == state) {
            if state != "missing" {
                last = state;
            }
            expected.next();
        } else if !(busy && is_late) {
            return false;
        }
        before = state;
    }
    expected.peek().is_none()
}

#[test]
fn a_story_has_no_other_states_than_those_of_a_late_beat() {
    let story = ["healthy", "missing", "healthy", "missing", "failed"].map(str::to_owned);
    assert!(tells(&story, &["healthy", "failed"], true));
    assert!(!tells(&story, &["healthy", "failed"], false));
    assert!(tells(&story, &["healthy", "missing", "failed"], true));
    assert!(!tells(&story, &["healthy", "missing", "failed"], false));
    for other in [
        &["healthy"][..],
        &["healthy", "stopped"],
        &["failed"],
        &["healthy", "failed", "healthy"],
    ] {
        assert!(!tells(&story, other, true), "{other:?}");
    }
}

/// `TIME INFO a1 is healthy: …`, `TIME ERROR a1 failed: …`
fn state_in<'a>(line: &'a str, id: &str) -> Option<&'a str> {
    let mut words = line.split_whitespace().skip(2);
    if words.next()? != id {
        return None;
    }
    match words.next()? {
        "is" => words.next()?.strip_suffix(':'),
        "failed:" => Some("failed"),
        _ => None,
    }
}

fn output(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (output.status.code().unwrap(), said)
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    since.as_millis().try_into().unwrap()
}
