//! What the embedded store keeps on disk, and what it does about a file that cannot be read or is in use.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

use hbstore::{KeepError, Kept, Limits, serve};
use redis::Commands;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A store that keeps its data in a directory of the test's.
struct Store {
    runtime: Runtime,
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

impl Store {
    fn open(directory: &Path) -> Self {
        Self::with(Kept::open(directory).unwrap())
    }

    fn with(kept: Kept) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let bind = tokio::net::TcpListener::bind("127.0.0.1:0");
        let listener = runtime.block_on(bind).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            let _ = stopped.await;
        };
        let served = runtime.spawn(async move {
            serve(listener, Limits::default(), Some(kept), stopped)
                .await
                .unwrap();
        });
        Self {
            runtime,
            port,
            stop: Some(stop),
            served: Some(served),
        }
    }

    fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.port)).unwrap();
        client.get_connection().unwrap()
    }

    /// Ends it as a monitor does.
    fn end(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        let served = self.served.take().unwrap();
        self.runtime.block_on(served).unwrap();
    }
}

fn run<T: redis::FromRedisValue>(c: &mut redis::Connection, command: &str) -> T {
    let mut words = command.split(' ');
    let mut all = redis::cmd(words.next().unwrap());
    all.arg(words.collect::<Vec<_>>());
    all.query(c).unwrap()
}

/// A directory with the file of a store that ended.
fn written() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path());
    let c = &mut store.connect();
    let mut pipe = redis::pipe();
    for n in 0..200 {
        let (agent, entry) = (format!("agent-{n}"), format!("entry-{n}"));
        pipe.cmd("HSET").arg(&["hb:agents", &agent, &entry]);
        pipe.cmd("XADD").arg(&["hb:events", "*", "agent", &agent]);
    }
    pipe.exec(c).unwrap();
    run::<()>(c, "SET hb:epoch:{agent:a} 7");
    store.end();
    let file = directory.path().join("store.redb");
    (directory, file)
}

fn damaged(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("damaged")).collect()
}

#[test]
fn after_a_restart_everything_without_a_time_to_live_is_there() {
    let (directory, _) = written();
    let store = Store::open(directory.path());
    let c = &mut store.connect();
    let roster: HashMap<String, String> = c.hgetall("hb:agents").unwrap();
    assert_eq!((roster.len(), &*roster["agent-7"]), (200, "entry-7"));
    assert_eq!(run::<u64>(c, "XLEN hb:events"), 200);
    assert_eq!(run::<u64>(c, "INCR hb:epoch:{agent:a}"), 8);
    store.end();
}

/// The file as the end of the process would leave it, in a directory of its own.
fn copied(directory: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(directory.join("store.redb"), copy.path().join("store.redb")).unwrap();
    copy
}

/// An answer waits 100 ms for the disk, and not longer: most are slower on no machine. Without a wait nearly none would be
/// in the file.
#[test]
fn what_was_answered_is_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path());
    let c = &mut store.connect();
    let mut in_the_file = Vec::new();
    for n in 1..=20 {
        run::<()>(c, &format!("XADD hb:events * event exited n {n}"));
        let copy = copied(directory.path());
        let killed = Store::open(copy.path());
        in_the_file.push(run::<u64>(&mut killed.connect(), "XLEN hb:events") == n);
        killed.end();
    }
    store.end();
    let found = in_the_file.iter().filter(|found| **found).count();
    assert!(found > 10, "{in_the_file:?}");
}

/// What a person removed does not come back, however long the disk takes.
#[test]
fn what_was_answered_as_removed_is_gone_from_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path());
    let c = &mut store.connect();
    for removal in ["FLUSHALL", "FLUSHDB", "DEL k0 k1 k2", "UNLINK k0 k1 k2"] {
        let mut load = redis::pipe();
        for n in 0..3000 {
            load.cmd("SET").arg(format!("k{}", n % 3)).arg(n).ignore();
            load.cmd("HSET").arg(&["h", &n.to_string(), "x"]).ignore();
        }
        load.exec(c).unwrap();
        run::<()>(c, removal);
        let copy = copied(directory.path());
        let killed = Store::open(copy.path());
        let left: u64 = run(&mut killed.connect(), "EXISTS k0 k1 k2");
        killed.end();
        assert_eq!(left, 0, "{removal}");
    }
    store.end();
}

#[test]
fn a_removal_of_what_was_there_before_the_start_is_on_the_disk_with_its_answer() {
    let (directory, _) = written();
    let store = Store::open(directory.path());
    run::<()>(&mut store.connect(), "DEL hb:agents");
    let copy = copied(directory.path());
    let killed = Store::open(copy.path());
    assert_eq!(run::<u64>(&mut killed.connect(), "EXISTS hb:agents"), 0);
    killed.end();
    store.end();
}

#[test]
fn answers_come_in_the_order_of_the_commands_though_some_wait_for_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path());
    let c = &mut store.connect();
    let mut pipe = redis::pipe();
    for n in 0..100 {
        pipe.cmd("HSET").arg("h").arg(n).arg(n);
        pipe.cmd("HGET").arg("h").arg(n);
        pipe.cmd("SET").arg("lease").arg(n).arg("PX").arg(100_000);
    }
    let answers: Vec<(u64, u64, String)> = pipe.query(c).unwrap();
    let wanted: Vec<_> = (0..100).map(|n| (1, n, "OK".to_owned())).collect();
    assert_eq!(answers, wanted);
    store.end();
}

#[test]
fn ids_of_a_stream_go_on_and_what_was_removed_stays_removed() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path());
    let c = &mut store.connect();
    run::<()>(c, "XADD s 9000000000000000-5 a b");
    run::<()>(c, "HSET h a 1 b 2");
    run::<()>(c, "SET lease x PX 100000");
    run::<()>(c, "SET gone x");
    run::<()>(c, "HDEL h a");
    run::<()>(c, "DEL gone");
    store.end();
    let store = Store::open(directory.path());
    let c = &mut store.connect();
    assert_eq!(
        run::<String>(c, "XADD s MAXLEN 1 * c d"),
        "9000000000000000-6"
    );
    assert_eq!(run::<Vec<String>>(c, "HGETALL h"), ["b", "2"]);
    assert_eq!(run::<u64>(c, "EXISTS gone lease"), 0);
    store.end();
    let store = Store::open(directory.path());
    assert_eq!(run::<u64>(&mut store.connect(), "XLEN s"), 1);
    store.end();
}

#[test]
fn a_file_that_was_removed_while_the_store_runs_is_made_again_with_everything() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("state");
    let store = Store::open(&directory);
    let c = &mut store.connect();
    run::<()>(c, "HSET hb:agents a before");
    std::fs::remove_dir_all(&directory).unwrap();
    run::<()>(c, "HSET hb:agents b after");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !directory.exists() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    store.end();
    let store = Store::open(&directory);
    let agents: HashMap<String, String> = store.connect().hgetall("hb:agents").unwrap();
    store.end();
    let expected = [("a", "before"), ("b", "after")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(agents, HashMap::from(expected));
}

#[test]
fn a_store_that_was_flushed_comes_back_empty() {
    let (directory, _) = written();
    let store = Store::open(directory.path());
    run::<()>(&mut store.connect(), "FLUSHALL");
    run::<()>(&mut store.connect(), "SET new 1");
    store.end();
    let store = Store::open(directory.path());
    assert_eq!(run::<u64>(&mut store.connect(), "DBSIZE"), 1);
    store.end();
}

/// Opens what is left of a file after `harm`; the store must serve and keep, whatever it is.
fn survives(what: &str, harm: impl FnOnce(&mut Vec<u8>)) -> (usize, Vec<String>) {
    let (directory, file) = written();
    let mut bytes = std::fs::read(&file).unwrap();
    harm(&mut bytes);
    std::fs::write(&file, bytes).unwrap();
    let store = Store::open(directory.path());
    let c = &mut store.connect();
    let roster: HashMap<String, String> = c.hgetall("hb:agents").unwrap();
    run::<()>(c, "SET after 1");
    store.end();
    let store = Store::open(directory.path());
    assert_eq!(run::<u64>(&mut store.connect(), "GET after"), 1, "{what}");
    store.end();
    (roster.len(), damaged(directory.path()))
}

#[test]
fn a_file_that_is_no_database_is_set_aside_and_the_store_begins_without_data() {
    let (agents, aside) = survives("text", |bytes| *bytes = b"not a database".repeat(1000));
    assert_eq!((agents, aside.len()), (0, 1), "{aside:?}");
}

#[test]
fn a_truncated_file_is_set_aside_or_whole() {
    let (agents, aside) = survives("half", |bytes| bytes.truncate(bytes.len() / 2));
    assert!(
        (agents, aside.len()) == (200, 0) || (agents, aside.len()) == (0, 1),
        "{agents} agents, {aside:?}"
    );
    let (agents, aside) = survives("a page", |bytes| bytes.truncate(4096));
    assert_eq!((agents, aside.len()), (0, 1), "{aside:?}");
}

#[test]
fn a_file_with_a_zeroed_part_is_set_aside_or_whole() {
    for tenth in 0..10 {
        let (agents, aside) = survives(&format!("tenth {tenth}"), |bytes| {
            let part = bytes.len() / 10;
            bytes[tenth * part..(tenth + 1) * part].fill(0);
        });
        assert!(
            agents == 200 || (agents == 0 && aside.len() == 1),
            "tenth {tenth}: {agents} agents, {aside:?}"
        );
    }
}

#[test]
fn no_flipped_byte_stops_the_store_or_passes_for_data() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..40 {
        let (place, mask) = (random.f64(), random.u8(1..));
        let (agents, aside) = survives(&format!("seed {seed}"), |bytes| {
            // Half of them where the content is.
            let length = if random.bool() { 65536 } else { bytes.len() };
            let at = (place * length as f64) as usize;
            bytes[at] ^= mask;
        });
        assert!(
            agents == 200 || (agents == 0 && aside.len() == 1),
            "seed {seed}: {agents} agents, {aside:?}"
        );
    }
}

#[test]
fn a_directory_that_another_store_uses_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let first = Kept::open(directory.path()).unwrap();
    let refused = Kept::open(directory.path()).unwrap_err();
    assert!(matches!(refused, KeepError::InUse(_)), "{refused}");
    let text = refused.to_string();
    assert!(
        text.contains("another hbmonitor") && text.contains("--state-dir"),
        "{text}"
    );
    drop(first);
    Kept::open(directory.path()).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let refused = Kept::open(&file.join("below")).unwrap_err().to_string();
    assert!(
        refused.starts_with("cannot make the directory"),
        "{refused}"
    );
}
