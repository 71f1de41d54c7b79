//! One suite, two stores: what hb and its clients ask of a store is answered alike by the embedded one and by Redis.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "the message says what is missing"
)]

use hbstore::{Limits, ServeError, serve};
use heartbeat::wire::keys::{
    BEAT_SCRIPT, LEADER_SCRIPT, LEASE_SCRIPT, REGISTER_SCRIPT, ROSTER_SCRIPT,
};
use heartbeat::wire::leader::Standing;
use heartbeat::wire::lease::Grant;
use redis::{Commands, Connection, FromRedisValue, RedisError, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

type Entries = Vec<(String, Vec<(String, String)>)>;

/// A store under test; ends with the test.
enum Store {
    Embedded {
        _runtime: tokio::runtime::Runtime,
        port: u16,
    },
    Real {
        server: Child,
        port: u16,
        _dir: tempfile::TempDir,
    },
}

impl Store {
    fn embedded() -> Self {
        Self::embedded_with(Limits::default())
    }

    fn embedded_with(limits: Limits) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(serve(listener, limits, None, std::future::pending()));
        Self::Embedded {
            _runtime: runtime,
            port,
        }
    }

    /// redis-server cannot report a port that the kernel chose: when another program has taken it, it ends.
    fn real() -> Self {
        loop {
            let port = std::net::TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let dir = tempfile::tempdir().unwrap();
            let server = Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
                .args(["--save", "", "--appendonly", "no", "--dir"])
                .arg(dir.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn()
                .expect("redis-server is needed: run `make test-deps`");
            let mut store = Self::Real {
                server,
                port,
                _dir: dir,
            };
            if eventually("redis answers or ends", || store.is_up()) {
                return store;
            }
        }
    }

    /// Whether it answers; `None`: not yet. Another server that has its port answers too, while this one ends.
    fn is_up(&mut self) -> Option<bool> {
        let url = self.url();
        let Self::Real { server, .. } = self else {
            return Some(true);
        };
        if server.try_wait().unwrap().is_some() {
            return Some(false);
        }
        let mut connection = redis::Client::open(url).unwrap().get_connection().ok()?;
        let info: String = try_run(&mut connection, "INFO server").ok()?;
        let own = format!("process_id:{}\r\n", server.id());
        info.contains(&own).then_some(true)
    }

    fn port(&self) -> u16 {
        match self {
            Self::Embedded { port, .. } | Self::Real { port, .. } => *port,
        }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    fn connect(&self) -> Connection {
        redis::Client::open(self.url())
            .unwrap()
            .get_connection()
            .unwrap()
    }

    fn connect_resp3(&self) -> Connection {
        let url = format!("{}/?protocol=resp3", self.url());
        redis::Client::open(url).unwrap().get_connection().unwrap()
    }

    /// A bare connection: bytes out, bytes in.
    fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Self::Real { server, .. } = self {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {SOON:?} until {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn run<T: FromRedisValue>(c: &mut Connection, command: &str) -> T {
    try_run(c, command).unwrap_or_else(|error| panic!("{command}: {error}"))
}

fn try_run<T: FromRedisValue>(c: &mut Connection, command: &str) -> Result<T, RedisError> {
    let mut words = command.split(' ');
    redis::cmd(words.next().unwrap())
        .arg(words.collect::<Vec<_>>())
        .query(c)
}

fn error(c: &mut Connection, command: &str) -> String {
    try_run::<Value>(c, command).unwrap_err().to_string()
}

/// Each behaviour becomes two tests, one a store.
macro_rules! conformance {
    ($($name:ident)*) => {
        mod embedded { $(#[test] fn $name() { super::$name(&super::Store::embedded()); })* }
        mod real { $(#[test] fn $name() { super::$name(&super::Store::real()); })* }
    };
}

conformance! {
    text_is_set_and_read set_obeys_nx_xx_and_px increments_count_and_refuse_text keys_are_deleted_and_counted
    hashes_hold_fields a_key_expires_by_itself time_to_live_tells_what_is_left a_scan_finds_every_key
    a_wrong_type_is_refused unknown_commands_and_arities_are_refused pipelines_answer_in_order
    a_channel_reaches_its_subscriber a_pattern_reaches_its_subscriber pushes_come_beside_answers_in_resp3
    subscribers_are_counted a_stream_keeps_order_and_length a_blocked_read_wakes_up
    a_blocked_read_ends_in_time an_unknown_script_is_refused_by_name an_epoch_is_strictly_increasing
    a_living_holder_refuses_a_newcomer a_lease_may_be_broken_by_name_or_by_force
    an_exclusive_lease_outlives_its_hash_and_is_given_up_by_its_holder_alone
    a_lease_that_the_store_lost_is_there_again_with_its_next_renewal
    an_exclusive_takeover_fences_the_holder_and_waits_for_it
    a_holder_that_is_silent_for_three_intervals_or_gave_the_id_up_refuses_nobody
    a_registration_leaves_nothing_of_the_last_beat a_roster_entry_of_a_lower_epoch_is_not_written
    a_poisoned_counter_does_not_lock_out a_beat_is_one_atomic_write a_beat_of_a_lower_epoch_is_fenced
    one_monitor_leads_until_it_gives_up_or_its_lead_runs_out
    a_lead_that_no_monitor_wrote_or_that_lost_its_end_binds_nobody_for_ever
    a_beat_returns_the_pending_order a_beat_restores_a_lost_counter the_store_tells_who_it_is
    inline_commands_are_answered garbage_is_answered_and_the_store_lives resp3_maps_are_maps
    node_redis_is_content redis_py_is_content
}

fn text_is_set_and_read(store: &Store) {
    let c = &mut store.connect();
    assert_eq!(run::<String>(c, "SET a hello"), "OK");
    assert_eq!(run::<String>(c, "GET a"), "hello");
    assert_eq!(run::<Option<String>>(c, "GET b"), None);
    assert_eq!(run::<String>(c, "TYPE a"), "string");
    c.set::<_, _, ()>("bytes", b"\x00\xff\r\n".as_slice())
        .unwrap();
    assert_eq!(c.get::<_, Vec<u8>>("bytes").unwrap(), b"\x00\xff\r\n");
}

fn set_obeys_nx_xx_and_px(store: &Store) {
    let c = &mut store.connect();
    assert_eq!(run::<Option<String>>(c, "SET a 1 XX"), None);
    assert_eq!(
        run::<Option<String>>(c, "SET a 1 NX PX 5000"),
        Some("OK".into())
    );
    assert_eq!(run::<Option<String>>(c, "SET a 2 NX PX 5000"), None);
    assert!((1..=5000).contains(&run::<i64>(c, "PTTL a")));
    assert_eq!(run::<String>(c, "SET a 3"), "OK");
    assert_eq!(run::<i64>(c, "PTTL a"), -1);
    assert!(error(c, "SET a 1 PX 0").contains("invalid expire time"));
    assert!(error(c, "SET a 1 WHAT").contains("syntax error"));
}

fn increments_count_and_refuse_text(store: &Store) {
    let c = &mut store.connect();
    assert_eq!(run::<i64>(c, "INCR n"), 1);
    assert_eq!(run::<i64>(c, "INCR n"), 2);
    run::<()>(c, "SET t x");
    assert!(error(c, "INCR t").contains("not an integer"));
}

fn keys_are_deleted_and_counted(store: &Store) {
    let c = &mut store.connect();
    run::<()>(c, "SET a 1");
    run::<()>(c, "SET b 1");
    assert_eq!(run::<i64>(c, "EXISTS a b c"), 2);
    assert_eq!(run::<i64>(c, "DEL a c"), 1);
    assert_eq!(run::<i64>(c, "DBSIZE"), 1);
    run::<()>(c, "FLUSHALL");
    assert_eq!(run::<i64>(c, "DBSIZE"), 0);
}

fn hashes_hold_fields(store: &Store) {
    let c = &mut store.connect();
    assert_eq!(run::<i64>(c, "HSET h a 1 b 2"), 2);
    assert_eq!(run::<i64>(c, "HSET h a 9 c 3"), 1);
    assert_eq!(run::<String>(c, "HGET h a"), "9");
    assert_eq!(
        run::<Vec<Option<String>>>(c, "HMGET h a x"),
        [Some("9".into()), None]
    );
    let all: BTreeMap<String, String> = run(c, "HGETALL h");
    let (cursor, page): (String, Vec<String>) = run(c, "HSCAN h 0 COUNT 500");
    let pairs = page
        .chunks(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()));
    assert_eq!((cursor.as_str(), pairs.collect()), ("0", all.clone()));
    assert_eq!(
        all.into_iter().map(|(k, v)| k + &v).collect::<Vec<_>>(),
        ["a9", "b2", "c3"]
    );
    assert_eq!(run::<i64>(c, "HLEN h"), 3);
    assert_eq!(run::<i64>(c, "HEXISTS h a"), 1);
    assert_eq!(run::<i64>(c, "HDEL h a b c"), 3);
    assert_eq!(run::<String>(c, "TYPE h"), "none");
}

fn a_key_expires_by_itself(store: &Store) {
    let c = &mut store.connect();
    run::<()>(c, "SET a 1 PX 30");
    eventually("the key is gone", || {
        (run::<i64>(c, "EXISTS a") == 0).then_some(())
    });
    assert_eq!(run::<i64>(c, "PTTL a"), -2);
}

fn time_to_live_tells_what_is_left(store: &Store) {
    let c = &mut store.connect();
    assert_eq!(run::<i64>(c, "PEXPIRE a 100"), 0);
    run::<()>(c, "SET a 1");
    assert_eq!(run::<i64>(c, "PTTL a"), -1);
    assert_eq!(run::<i64>(c, "EXPIRE a 100"), 1);
    assert_eq!(run::<i64>(c, "TTL a"), 100);
    assert_eq!(run::<i64>(c, "PERSIST a"), 1);
    assert_eq!(run::<i64>(c, "TTL a"), -1);
}

fn a_scan_finds_every_key(store: &Store) {
    let c = &mut store.connect();
    let mut pipe = redis::pipe();
    for n in 0..10_000 {
        pipe.cmd("SET").arg(format!("agent:{n}")).arg(n).ignore();
    }
    pipe.exec(c).unwrap();
    run::<()>(c, "SET other 1");
    let (mut cursor, mut seen) = ("0".to_owned(), BTreeSet::new());
    loop {
        let (next, page): (String, Vec<String>) =
            run(c, &format!("SCAN {cursor} MATCH agent:* COUNT 500"));
        seen.extend(page);
        cursor = next;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 10_000);
}

fn a_wrong_type_is_refused(store: &Store) {
    let c = &mut store.connect();
    run::<()>(c, "HSET h a 1");
    for command in ["GET h", "INCR h", "XADD h * a 1", "XRANGE h - +"] {
        assert!(
            error(c, command).contains("wrong kind of value"),
            "{command}"
        );
    }
}

fn unknown_commands_and_arities_are_refused(store: &Store) {
    let c = &mut store.connect();
    assert!(error(c, "NONSENSE a b").contains("unknown command"));
    assert!(error(c, "GET").contains("wrong number of arguments"));
    assert!(error(c, "HSET h a").contains("wrong number of arguments"));
    assert!(error(c, "SELECT 99").contains("out of range"));
}

fn pipelines_answer_in_order(store: &Store) {
    let c = &mut store.connect();
    let mut pipe = redis::pipe();
    for n in 0..1000 {
        pipe.cmd("ECHO").arg(n);
    }
    let answers: Vec<i64> = pipe.query(c).unwrap();
    assert_eq!(answers, (0..1000).collect::<Vec<_>>());
}

fn a_channel_reaches_its_subscriber(store: &Store) {
    let mut hearing = store.connect();
    let mut pubsub = hearing.as_pubsub();
    pubsub.set_read_timeout(Some(SOON)).unwrap();
    pubsub.subscribe("heartbeats").unwrap();
    assert_eq!(
        run::<i64>(&mut store.connect(), "PUBLISH heartbeats hello"),
        1
    );
    let message = pubsub.get_message().unwrap();
    assert_eq!(message.get_channel_name(), "heartbeats");
    assert_eq!(message.get_payload_bytes(), b"hello");
    pubsub.unsubscribe("heartbeats").unwrap();
    assert_eq!(
        run::<i64>(&mut store.connect(), "PUBLISH heartbeats hello"),
        0
    );
}

fn a_pattern_reaches_its_subscriber(store: &Store) {
    let mut hearing = store.connect();
    let mut pubsub = hearing.as_pubsub();
    pubsub.set_read_timeout(Some(SOON)).unwrap();
    pubsub.psubscribe("hb:control:*").unwrap();
    run::<i64>(&mut store.connect(), "PUBLISH hb:control:{agent:a} x");
    assert_eq!(
        pubsub.get_message().unwrap().get_channel_name(),
        "hb:control:{agent:a}"
    );
}

fn pushes_come_beside_answers_in_resp3(store: &Store) {
    let mut c = store.connect_resp3();
    let (send, pushes) = std::sync::mpsc::channel();
    c.set_push_sender(send);
    c.subscribe_resp3("heartbeats").unwrap();
    run::<i64>(&mut store.connect(), "PUBLISH heartbeats hello");
    let message = eventually("the message is pushed", || {
        run::<String>(&mut c, "PING");
        pushes
            .try_iter()
            .find(|push| push.kind == redis::PushKind::Message)
    });
    assert_eq!(message.data[1], Value::BulkString(b"hello".to_vec()));
}

fn subscribers_are_counted(store: &Store) {
    let mut hearing = store.connect();
    let mut pubsub = hearing.as_pubsub();
    pubsub.subscribe("one").unwrap();
    let c = &mut store.connect();
    let counted: Vec<(String, i64)> = run(c, "PUBSUB NUMSUB one two");
    assert_eq!(counted, [("one".into(), 1), ("two".into(), 0)]);
    assert_eq!(run::<Vec<String>>(c, "PUBSUB CHANNELS o*"), ["one"]);
    drop(pubsub);
    drop(hearing);
    eventually("a subscriber that left is not counted", || {
        (run::<Vec<(String, i64)>>(c, "PUBSUB NUMSUB one")[0].1 == 0).then_some(())
    });
}

fn values(entries: &Entries) -> Vec<&str> {
    entries
        .iter()
        .map(|(_, fields)| fields[0].1.as_str())
        .collect()
}

fn a_stream_keeps_order_and_length(store: &Store) {
    let c = &mut store.connect();
    for n in 0..20 {
        run::<String>(c, &format!("XADD s MAXLEN = 5 * n {n}"));
    }
    assert_eq!(run::<i64>(c, "XLEN s"), 5);
    let all: Entries = run(c, "XRANGE s - +");
    assert_eq!(values(&all), ["15", "16", "17", "18", "19"]);
    let after: Entries = run(c, &format!("XRANGE s ({} + COUNT 2", all[1].0));
    assert_eq!(values(&after), ["17", "18"]);
    let last: Entries = run(c, "XREVRANGE s + - COUNT 1");
    assert_eq!(values(&last), ["19"]);
    run::<String>(c, "XADD t 5-1 a 1");
    assert!(error(c, "XADD t 5-1 a 1").contains("equal or smaller"));
    assert!(error(c, "XRANGE t what +").contains("Invalid stream ID"));
    assert!(run::<String>(c, "XADD t MAXLEN ~ 10000 * a 1").contains('-'));
}

fn a_blocked_read_wakes_up(store: &Store) {
    let url = store.url();
    let reader = std::thread::spawn(move || {
        let c = &mut redis::Client::open(url).unwrap().get_connection().unwrap();
        run::<Vec<(String, Entries)>>(c, "XREAD COUNT 5 BLOCK 20000 STREAMS s $")
    });
    let c = &mut store.connect();
    eventually("the reader has read", || {
        run::<String>(c, "XADD s * who me");
        reader.is_finished().then_some(())
    });
    let found = reader.join().unwrap();
    assert_eq!((found[0].0.as_str(), values(&found[0].1)[0]), ("s", "me"));
}

fn a_blocked_read_ends_in_time(store: &Store) {
    let c = &mut store.connect();
    assert_eq!(run::<Value>(c, "XREAD BLOCK 30 STREAMS s $"), Value::Nil);
    assert_eq!(run::<Value>(c, "XREAD STREAMS s 0"), Value::Nil);
}

fn an_unknown_script_is_refused_by_name(store: &Store) {
    let c = &mut store.connect();
    let sha = "0".repeat(40);
    let refused = error(c, &format!("EVALSHA {sha} 0"));
    assert!(refused.to_uppercase().contains("NOSCRIPT"), "{refused}");
    assert_eq!(run::<Vec<i64>>(c, &format!("SCRIPT EXISTS {sha}")), [0]);
}

fn ask_for_the_id(c: &mut Connection, floor: u64, instance: &str, breakable: &str) -> Grant {
    ask_with_lease(c, floor, instance, breakable, 0)
}

fn ask_with_lease(
    c: &mut Connection,
    floor: u64,
    instance: &str,
    breakable: &str,
    exclusive_ms: u64,
) -> Grant {
    let answer: Vec<String> = redis::Script::new(REGISTER_SCRIPT)
        .key("hb:epoch:{agent:a1}")
        .key("agent:a1")
        .key("hb:lease:{agent:a1}")
        .arg(floor)
        .arg(instance)
        .arg(4000)
        .arg(breakable)
        .arg(exclusive_ms)
        .arg(&["intervalMs", "1000", "holder", "boot 1 7 99 node-3"])
        .invoke(c)
        .unwrap();
    Grant::decode(&answer).unwrap()
}

fn register(c: &mut Connection, floor: u64) -> u64 {
    match ask_for_the_id(c, floor, "i", "") {
        Grant::Granted(epoch) => epoch,
        Grant::Held(lease) => panic!("held by {lease}"),
    }
}

fn stand(c: &mut Connection, instance: &str, ms: u64) -> Standing {
    stand_breaking(c, instance, ms, "")
}

fn stand_breaking(c: &mut Connection, instance: &str, ms: u64, breakable: &str) -> Standing {
    let (word, value): (String, String) = redis::Script::new(LEADER_SCRIPT)
        .key("hb:leader")
        .key("{hb:leader}:fence")
        .arg(instance)
        .arg(ms)
        .arg(breakable)
        .invoke(c)
        .unwrap();
    Standing::decode(&word, &value).unwrap()
}

/// The fencing token of an instance that leads.
fn leads(standing: Standing, instance: &str) -> u64 {
    let Standing::Leads(leader) = standing else {
        panic!("{instance} does not lead: {standing:?}");
    };
    assert_eq!(leader.instance, instance);
    leader.fence
}

fn one_monitor_leads_until_it_gives_up_or_its_lead_runs_out(store: &Store) {
    let c = &mut store.connect();
    let first = leads(stand(c, "a", 9000), "a");
    assert!(first > 1_700_000_000_000, "not below the clock: {first}");
    assert_eq!(leads(stand(c, "a", 9000), "a"), first, "renewed");
    let Standing::Follows(leader) = stand(c, "b", 9000) else {
        panic!("two lead");
    };
    assert_eq!((leader.instance.as_str(), leader.fence), ("a", first));
    assert_eq!(stand(c, "b", 0), Standing::Free, "gives up what it has not");
    assert!(matches!(stand(c, "b", 9000), Standing::Follows(_)));
    assert_eq!(stand(c, "a", 0), Standing::Free);
    leads(stand(c, "c", 9000), "c");
    assert!(matches!(
        stand_breaking(c, "b", 9000, "a"),
        Standing::Follows(_)
    ));
    let second = leads(stand_breaking(c, "b", 1, "c"), "b");
    assert!(second > first);
    eventually("its lead has run out", || {
        (!run::<bool>(c, "EXISTS hb:leader")).then_some(())
    });
    assert!(leads(stand(c, "a", 9000), "a") > second);
}

fn a_lead_that_no_monitor_wrote_or_that_lost_its_end_binds_nobody_for_ever(store: &Store) {
    let c = &mut store.connect();
    for garbage in [
        "garbage",
        "[]",
        "{}",
        r#"{"instance":7,"fence":1}"#,
        r#"{"instance":"x","fence":-1}"#,
    ] {
        c.set::<_, _, ()>("hb:leader", garbage).unwrap();
        leads(stand(c, "a", 9000), "a");
    }
    let endless = r#"{"instance":"x","since":1,"fence":5}"#;
    c.set::<_, _, ()>("hb:leader", endless).unwrap();
    assert!(matches!(stand(c, "a", 9000), Standing::Follows(_)));
    assert!((1..=9000).contains(&run::<i64>(c, "PTTL hb:leader")));
    run::<i64>(c, "PEXPIRE hb:leader 3600000");
    assert!(matches!(stand(c, "a", 9000), Standing::Follows(_)));
    assert!((1..=9000).contains(&run::<i64>(c, "PTTL hb:leader")));
    c.set::<_, _, ()>("{hb:leader}:fence", "9007199254740000")
        .unwrap();
    c.del::<_, ()>("hb:leader").unwrap();
    assert_eq!(leads(stand(c, "a", 9000), "a"), 9_007_199_254_740_001);
}

fn a_living_holder_refuses_a_newcomer(store: &Store) {
    let c = &mut store.connect();
    let epoch = register(c, 0);
    let Grant::Held(lease) = ask_for_the_id(c, 0, "j", "") else {
        panic!("two hold the id");
    };
    assert_eq!((lease.epoch, lease.instance.as_str()), (epoch, "i"));
    assert_eq!(lease.holder.unwrap().pid, 7);
}

fn a_lease_may_be_broken_by_name_or_by_force(store: &Store) {
    let c = &mut store.connect();
    let epoch = register(c, 0);
    assert!(matches!(
        ask_for_the_id(c, 0, "j", "somebody"),
        Grant::Held(_)
    ));
    let next = granted_after(epoch, ask_for_the_id(c, 0, "j", "i"));
    granted_after(next, ask_for_the_id(c, 0, "k", "*"));
}

fn renew(c: &mut Connection, epoch: u64, instance: &str, ms: u64) -> u64 {
    redis::Script::new(LEASE_SCRIPT)
        .key("hb:lease:{agent:a1}")
        .key("agent:a1")
        .key("hb:epoch:{agent:a1}")
        .arg(epoch)
        .arg(instance)
        .arg(ms)
        .invoke(c)
        .unwrap()
}

fn exclusive(grant: Grant) -> heartbeat::wire::lease::Lease {
    match grant {
        Grant::Held(lease) if lease.exclusive_for.is_some() => lease,
        Grant::Granted(_) | Grant::Held(_) => panic!("{grant:?} is not an exclusive lease"),
    }
}

fn an_exclusive_lease_outlives_its_hash_and_is_given_up_by_its_holder_alone(store: &Store) {
    let c = &mut store.connect();
    let Grant::Granted(epoch) = ask_with_lease(c, 0, "i", "", 60_000) else {
        panic!("a free id was not granted");
    };
    run::<()>(c, "PEXPIRE agent:a1 800");
    for exclusive_ms in [0, 60_000] {
        let lease = exclusive(ask_with_lease(c, 0, "j", "", exclusive_ms));
        assert_eq!(lease.instance, "i");
        assert_eq!(lease.holder.unwrap().pid, 7);
    }
    assert_eq!(renew(c, epoch, "j", 60_000), 0);
    assert_eq!(renew(c, epoch, "j", 0), 0);
    assert_eq!(renew(c, epoch, "i", 60_000), 1);
    assert_eq!(renew(c, epoch, "i", 0), 1);
    granted_after(epoch, ask_with_lease(c, 0, "j", "", 60_000));
}

fn a_lease_that_the_store_lost_is_there_again_with_its_next_renewal(store: &Store) {
    let c = &mut store.connect();
    let epoch = granted_after(0, ask_with_lease(c, 0, "i", "", 60_000));
    run::<()>(c, "DEL hb:lease:{agent:a1}");
    assert_eq!(renew(c, epoch, "i", 50_000), 1);
    let left: i64 = run(c, "PTTL hb:lease:{agent:a1}");
    assert!((1..=50_000).contains(&left), "{left}");
    run::<()>(c, "DEL hb:lease:{agent:a1}");
    let later = granted_after(epoch, ask_for_the_id(c, 0, "j", "*"));
    assert_eq!(renew(c, epoch, "i", 50_000), 0, "epoch {later} was granted");
}

fn an_exclusive_takeover_fences_the_holder_and_waits_for_it(store: &Store) {
    let c = &mut store.connect();
    let epoch = granted_after(0, ask_with_lease(c, 0, "i", "", 60_000));
    let lease = exclusive(ask_with_lease(c, 0, "j", "*", 60_000));
    assert!(lease.epoch > epoch);
    assert_eq!(renew(c, epoch, "i", 60_000), 0, "the holder is fenced");
    exclusive(ask_with_lease(c, 0, "j", "", 60_000));
    assert_eq!(renew(c, epoch, "i", 0), 1);
    granted_after(lease.epoch, ask_with_lease(c, 0, "j", "", 60_000));
    // One that does not ask for exclusion takes it at once, as its user wants.
    granted_after(lease.epoch, ask_for_the_id(c, 0, "k", "*"));
    assert_eq!(run::<i64>(c, "EXISTS hb:lease:{agent:a1}"), 0);
}

fn granted_after(epoch: u64, grant: Grant) -> u64 {
    match grant {
        Grant::Granted(next) if next > epoch => next,
        Grant::Granted(_) | Grant::Held(_) => panic!("{grant:?} after {epoch}"),
    }
}

fn a_holder_that_is_silent_for_three_intervals_or_gave_the_id_up_refuses_nobody(store: &Store) {
    let c = &mut store.connect();
    let epoch = register(c, 0);
    run::<()>(c, "PEXPIRE agent:a1 800");
    let next = granted_after(epoch, ask_for_the_id(c, 0, "j", ""));
    run::<()>(c, "HSET agent:a1 status stopped");
    let held = ask_for_the_id(c, 0, "k", "");
    assert!(
        matches!(held, Grant::Held(_)),
        "one that is stopping still holds it"
    );
    redis::cmd("HSET")
        .arg("agent:a1")
        .arg("instance")
        .arg("")
        .exec(c)
        .unwrap();
    granted_after(next, ask_for_the_id(c, 0, "k", ""));
}

fn a_registration_leaves_nothing_of_the_last_beat(store: &Store) {
    let c = &mut store.connect();
    register(c, 0);
    run::<()>(
        c,
        "HSET agent:a1 beat {} pid 7 sequence 9 lastHeartbeat 1 stoppedAt 2 type t",
    );
    register(c, 0);
    let fields: std::collections::HashMap<String, String> = run(c, "HGETALL agent:a1");
    for gone in ["beat", "pid", "sequence", "lastHeartbeat", "stoppedAt"] {
        assert!(!fields.contains_key(gone), "{fields:?}");
    }
    assert!(fields.contains_key("type"), "{fields:?}");
}

fn enlist(c: &mut Connection, epoch: u64, kind: &str) -> u64 {
    redis::Script::new(ROSTER_SCRIPT)
        .key("hb:agents")
        .arg("a1")
        .arg(epoch)
        .arg(format!(
            r#"{{"type":"{kind}","intervalMs":1000,"epoch":{epoch}}}"#
        ))
        .invoke(c)
        .unwrap()
}

fn a_roster_entry_of_a_lower_epoch_is_not_written(store: &Store) {
    let c = &mut store.connect();
    let written = [
        enlist(c, 7, "a"),
        enlist(c, 8, "b"),
        enlist(c, 7, "c"),
        enlist(c, 8, "d"),
    ];
    assert_eq!(written, [1, 1, 0, 1]);
    let entry: String = run(c, "HGET hb:agents a1");
    assert!(entry.contains(r#""type":"d""#), "{entry}");
}

fn beat(c: &mut Connection, epoch: u64) -> (String, String) {
    redis::Script::new(BEAT_SCRIPT)
        .key("agent:a1")
        .key("hb:epoch:{agent:a1}")
        .key("hb:control:{agent:a1}")
        .arg(epoch)
        .arg(4000)
        .arg("heartbeats")
        .arg("{\"the\":\"beat\"}")
        .arg(&["epoch", &epoch.to_string(), "status", "healthy"])
        .invoke(c)
        .unwrap()
}

fn an_epoch_is_strictly_increasing(store: &Store) {
    let c = &mut store.connect();
    let first = register(c, 0);
    assert!(register(c, 0) > first);
    let far = first + 1_000_000; // ahead of the store's clock
    assert_eq!(register(c, far), far + 1);
    assert_eq!(register(c, 0), far + 2);
    assert_eq!(run::<u64>(c, "GET hb:epoch:{agent:a1}"), far + 2);
}

fn a_poisoned_counter_does_not_lock_out(store: &Store) {
    let c = &mut store.connect();
    for poison in ["nonsense", "99999999999999999999", "-5"] {
        run::<()>(c, &format!("SET hb:epoch:{{agent:a1}} {poison}"));
        let epoch = register(c, 0);
        assert!(
            (1_000_000_000_000..1 << 53).contains(&epoch),
            "{poison}: {epoch}"
        );
    }
}

fn a_beat_is_one_atomic_write(store: &Store) {
    let mut hearing = store.connect();
    let mut pubsub = hearing.as_pubsub();
    pubsub.set_read_timeout(Some(SOON)).unwrap();
    pubsub.subscribe("heartbeats").unwrap();
    let c = &mut store.connect();
    let epoch = register(c, 0);
    assert_eq!(beat(c, epoch), ("ok".into(), String::new()));
    assert_eq!(run::<String>(c, "HGET agent:a1 status"), "healthy");
    assert!((1..=4000).contains(&run::<i64>(c, "PTTL agent:a1")));
    assert_eq!(
        pubsub.get_message().unwrap().get_payload_bytes(),
        b"{\"the\":\"beat\"}"
    );
}

fn a_beat_of_a_lower_epoch_is_fenced(store: &Store) {
    let c = &mut store.connect();
    let old = register(c, 0);
    let new = register(c, 0);
    assert_eq!(beat(c, old), ("fenced".into(), new.to_string()));
    assert_eq!(run::<i64>(c, "HEXISTS agent:a1 status"), 0);
    beat(c, new);
    run::<()>(c, "DEL hb:epoch:{agent:a1}");
    assert_eq!(beat(c, old).0, "fenced", "the hash remembers too");
}

fn a_beat_returns_the_pending_order(store: &Store) {
    let c = &mut store.connect();
    let epoch = register(c, 0);
    run::<()>(c, "SET hb:control:{agent:a1} {\"action\":\"ping\"} PX 5000");
    assert_eq!(
        beat(c, epoch),
        ("ok".into(), "{\"action\":\"ping\"}".into())
    );
}

fn a_beat_restores_a_lost_counter(store: &Store) {
    let c = &mut store.connect();
    let epoch = register(c, 0);
    run::<()>(c, "FLUSHALL");
    beat(c, epoch);
    assert!(register(c, 0) > epoch);
}

fn the_store_tells_who_it_is(store: &Store) {
    let c = &mut store.connect();
    let info: String = run(c, "INFO server");
    assert!(info.contains("redis_version:") && info.contains("run_id:"));
    let (seconds, _): (u64, u64) = run(c, "TIME");
    assert!(seconds > 1_700_000_000);
    assert_eq!(run::<String>(c, "CLIENT SETNAME hb"), "OK");
    assert_eq!(run::<String>(c, "CLIENT GETNAME"), "hb");
    assert_eq!(run::<String>(c, "SELECT 0"), "OK");
    assert!(error(c, "AUTH secret").contains("without any password"));
    assert_eq!(run::<String>(c, "PING"), "PONG");
}

fn ask(stream: &mut TcpStream, bytes: &[u8], until: &str) -> String {
    // The other side may have hung up already: what it said last still counts.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&answer).contains(until) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn inline_commands_are_answered(store: &Store) {
    assert_eq!(ask(&mut store.raw(), b"PING\r\n", "\n"), "+PONG\r\n");
}

fn garbage_is_answered_and_the_store_lives(store: &Store) {
    for garbage in [
        b"*1\r\n$99999999999\r\n".as_slice(),
        b"*10000000000\r\n",
        b"*2\r\n*1\r\n$1\r\na\r\n",
        b"*1\r\n:5\r\n",
    ] {
        let answer = ask(&mut store.raw(), garbage, "\n");
        assert!(
            answer.starts_with("-ERR Protocol error"),
            "{garbage:?}: {answer}"
        );
    }
    assert_eq!(run::<String>(&mut store.connect(), "PING"), "PONG");
}

fn resp3_maps_are_maps(store: &Store) {
    run::<()>(&mut store.connect(), "HSET h a 1");
    let answer = ask(&mut store.raw(), b"HELLO 3\r\nHGETALL h\r\n", "$1\r\n1\r\n");
    assert!(answer.starts_with('%'), "{answer}");
    assert!(answer.ends_with("%1\r\n$1\r\na\r\n$1\r\n1\r\n"), "{answer}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn client(program: &Path, script: &str, store: &Store) {
    let output = Command::new(program)
        .arg(script)
        .arg(store.url())
        .current_dir(root().join("tests/clients"))
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}; run `make test-deps`", program.display()));
    assert!(
        output.status.success(),
        "is `make test-deps` done?\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

fn node_redis_is_content(store: &Store) {
    client(Path::new("node"), "conformance.mjs", store);
}

fn redis_py_is_content(store: &Store) {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let python = std::path::absolute(target.join("test-python/bin/python3")).unwrap();
    client(&python, "conformance.py", store);
}

mod bounds {
    use super::*;

    #[test]
    fn random_bytes_never_end_the_store() {
        let store = Store::embedded();
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let alphabet = b"*$:+-_%~>\r\n0123456789 GETSPINGXREAD\x00\xff";
        for _ in 0..300 {
            let bytes: Vec<u8> = (0..random.usize(1..400))
                .map(|_| alphabet[random.usize(..alphabet.len())])
                .collect();
            // It may hang up in the middle of the nonsense.
            let _ = store.raw().write_all(&bytes);
        }
        assert_eq!(run::<String>(&mut store.connect(), "PING"), "PONG");
    }

    #[test]
    fn a_client_too_many_is_turned_away_and_room_is_made_when_one_leaves() {
        let store = Store::embedded_with(Limits {
            clients: 2,
            ..Limits::default()
        });
        let mut members = [store.raw(), store.raw()];
        for member in &mut members {
            ask(member, b"SUBSCRIBE heartbeats\r\n", ":1\r\n");
        }
        assert_eq!(
            ask(&mut store.raw(), b"", "\n"),
            "-ERR max number of clients reached\r\n"
        );
        drop(members);
        eventually("there is room again", || {
            (ask(&mut store.raw(), b"PING\r\n", "\n") == "+PONG\r\n").then_some(())
        });
    }

    #[test]
    fn idle_strangers_give_their_places_up_and_members_of_the_fleet_keep_theirs() {
        let store = Store::embedded_with(Limits {
            clients: 4,
            ..Limits::default()
        });
        let mut member = store.raw();
        ask(&mut member, b"SUBSCRIBE heartbeats\r\n", ":1\r\n");
        let mut visitor = store.raw();
        assert_eq!(ask(&mut visitor, b"PING\r\n", "\n"), "+PONG\r\n");
        let silent: Vec<_> = (0..50).map(|_| store.raw()).collect();
        let mut newcomer = store.raw();
        assert_eq!(ask(&mut newcomer, b"PING\r\n", "\n"), "+PONG\r\n");
        // A visitor comes before all that are silent.
        assert_eq!(ask(&mut visitor, b"PING\r\n", "\n"), "+PONG\r\n");
        assert_eq!(
            ask(&mut newcomer, b"PUBLISH heartbeats x\r\n", "\n"),
            ":1\r\n"
        );
        drop(silent);
    }

    #[test]
    fn memory_is_bounded_and_reads_and_deletions_go_on() {
        let store = Store::embedded_with(Limits {
            memory_bytes: 100_000,
            ..Limits::default()
        });
        let c = &mut store.connect();
        let text = "x".repeat(10_000);
        let refused = (0..20).find_map(|n| c.set::<_, _, ()>(format!("k{n}"), &text).err());
        assert!(refused.unwrap().to_string().contains("OOM"));
        assert_eq!(run::<String>(c, "GET k0"), text);
        run::<()>(c, "DEL k0 k1 k2");
        c.set::<_, _, ()>("k0", &text).unwrap();
    }

    #[test]
    fn a_subscriber_that_does_not_read_is_cut_off() {
        let store = Store::embedded_with(Limits {
            output_bytes: 100_000,
            ..Limits::default()
        });
        let mut deaf = store.raw();
        ask(&mut deaf, b"SUBSCRIBE heartbeats\r\n", ":1\r\n");
        let c = &mut store.connect();
        let payload = "x".repeat(60_000);
        eventually("nobody hears any more", || {
            let heard: i64 = redis::cmd("PUBLISH")
                .arg("heartbeats")
                .arg(&payload)
                .query(c)
                .unwrap();
            (heard == 0).then_some(())
        });
    }

    #[test]
    fn patterns_of_all_clients_together_are_bounded_and_given_back() {
        let store = Store::embedded();
        let c = &mut store.connect();
        let wild = |client: usize| {
            let patterns = (0..200).map(|n| format!(" *{}{client}-{n}", "a*".repeat(20)));
            format!("PSUBSCRIBE{}\r\nPING\r\n", patterns.collect::<String>())
        };
        let mut greedy: Vec<_> = (0..20).map(|_| store.raw()).collect();
        let mut answers = greedy.iter_mut().enumerate();
        let refused = answers.any(|(n, client)| {
            ask(client, wild(n).as_bytes(), "ong").contains("too many subscriptions")
        });
        assert!(refused);
        assert!(run::<i64>(c, "PUBSUB NUMPAT") < 1000);
        run::<i64>(c, &format!("PUBLISH {} x", "a".repeat(200)));
        drop(greedy);
        eventually("the patterns of clients that left are gone", || {
            (run::<i64>(c, "PUBSUB NUMPAT") == 0).then_some(())
        });
        ask(&mut store.raw(), b"PSUBSCRIBE *\r\n", ":1\r\n");
    }

    #[test]
    fn names_and_patterns_have_a_length() {
        let store = Store::embedded();
        let c = &mut store.connect();
        let long = "*a".repeat(600);
        assert!(error(c, &format!("SCAN 0 MATCH {long}")).contains("a pattern has at most"));
        assert!(error(c, &format!("PUBSUB CHANNELS {long}")).contains("a pattern has at most"));
        assert!(error(c, &format!("PSUBSCRIBE {long}")).contains("a pattern has at most"));
        assert!(error(c, &format!("SUBSCRIBE {long}")).contains("the name of a channel"));
    }

    /// Each wakes the other up with its next command, a thousand times.
    #[test]
    fn blocked_readers_that_wake_each_other_up_do_not_end_the_store() {
        let store = Store::embedded();
        let mut players = [store.raw(), store.raw()];
        for (player, (read, write)) in players.iter_mut().zip([("s", "t"), ("t", "s")]) {
            let turn = format!("XREAD BLOCK 0 STREAMS {read} $\r\nXADD {write} * n 1\r\n");
            player.write_all(turn.repeat(500).as_bytes()).unwrap();
        }
        let c = &mut store.connect();
        eventually("both have had their turns", || {
            // A reader that asked after the entry waits for the next one.
            run::<String>(c, "XADD s * n 1");
            run::<String>(c, "XADD t * n 1");
            let lengths = ["XLEN s", "XLEN t"].map(|command| run::<i64>(c, command));
            (lengths.iter().sum::<i64>() > 1000).then_some(())
        });
    }

    #[test]
    fn a_blocked_reader_that_goes_on_sending_is_cut_off() {
        let store = Store::embedded();
        let mut blocked = store.raw();
        blocked.write_all(b"XREAD BLOCK 0 STREAMS s $\r\n").unwrap();
        let command = format!("SET k {}\r\n", "x".repeat(10_000));
        eventually("the store has ended the connection", || {
            blocked.write_all(command.as_bytes()).err()
        });
        assert_eq!(run::<i64>(&mut store.connect(), "EXISTS k"), 0);
    }

    #[test]
    fn a_reply_that_no_client_could_take_is_refused_with_the_way_out() {
        let store = Store::embedded();
        let c = &mut store.connect();
        let text = "x".repeat(900_000);
        for n in 0..12 {
            c.hset::<_, _, _, ()>("h", n, &text).unwrap();
            let entry = redis::cmd("XADD")
                .arg(&["s", "*", "n", &text])
                .query::<()>(c);
            entry.unwrap();
        }
        assert!(error(c, "HGETALL h").contains("HSCAN"));
        assert!(error(c, "HMGET h 1 1 1 1 1 1 1 1 1 1 1 1").contains("read it in parts"));
        assert!(error(c, "XRANGE s - +").contains("COUNT"));
        let part: Entries = run(c, "XRANGE s - + COUNT 2");
        assert_eq!(part.len(), 2);
        let read: Vec<(String, Entries)> = run(c, "XREAD STREAMS s 0");
        assert!((1..12).contains(&read[0].1.len()), "as many as fit");
    }

    #[test]
    fn a_large_hash_is_scanned_in_pages_and_no_field_is_missing_or_twice() {
        let store = Store::embedded();
        let c = &mut store.connect();
        let fields: BTreeMap<String, String> = (0..5000)
            .map(|n| (format!("f{n}"), n.to_string()))
            .collect();
        for part in fields.iter().collect::<Vec<_>>().chunks(1000) {
            let mut set = redis::cmd("HSET");
            set.arg("h").arg(part);
            set.exec(c).unwrap();
        }
        let (mut cursor, mut pages, mut found) = (0_u64, 0, Vec::new());
        loop {
            let page: (u64, Vec<(String, String)>) = run(c, &format!("HSCAN h {cursor} COUNT 700"));
            found.extend(page.1);
            pages += 1;
            run::<i64>(c, &format!("HSET h new{cursor} 1")); // what comes meanwhile hides nothing
            cursor = page.0;
            if cursor == 0 {
                break;
            }
        }
        assert!(pages >= 7, "{pages} pages");
        found.retain(|(field, _)| !field.starts_with("new"));
        assert_eq!(found.len(), fields.len());
        assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), fields);
    }

    #[test]
    fn the_client_with_the_most_unread_is_cut_off_when_all_together_have_too_much() {
        let store = Store::embedded_with(Limits {
            outputs_bytes: 1 << 20,
            ..Limits::default()
        });
        let mut deaf: Vec<_> = (0..4).map(|_| store.raw()).collect();
        for client in &mut deaf {
            ask(client, b"SUBSCRIBE heartbeats\r\n", ":1\r\n");
        }
        let c = &mut store.connect();
        let payload = "x".repeat(200_000);
        eventually("one after the other is cut off", || {
            let publish = redis::cmd("PUBLISH")
                .arg("heartbeats")
                .arg(&payload)
                .query::<i64>(c);
            (publish.unwrap() == 0).then_some(())
        });
    }

    #[test]
    fn the_client_with_the_largest_unfinished_command_is_cut_off_when_all_together_have_too_much() {
        let store = Store::embedded_with(Limits {
            inputs_bytes: 1000,
            ..Limits::default()
        });
        // What stands behind the PING is in the store when that is answered.
        let begun = |bytes: usize| {
            let mut client = store.raw();
            let text = "x".repeat(bytes);
            let sent = format!("PING\r\n*2\r\n$4\r\nECHO\r\n$700\r\n{text}");
            assert_eq!(ask(&mut client, sent.as_bytes(), "\n"), "+PONG\r\n");
            client
        };
        let (mut largest, mut other) = (begun(600), begun(300));
        let rest = "x".repeat(200);
        other.write_all(rest.as_bytes()).unwrap();
        let refused = ask(&mut largest, b"", "\n");
        assert!(
            refused.contains("this client has sent the most"),
            "{refused}"
        );
        let answer = ask(&mut other, format!("{rest}\r\n").as_bytes(), "x\r\n");
        assert!(answer.starts_with("$700\r\n"), "{answer}");
    }

    #[test]
    fn commands_that_wait_behind_a_blocked_read_count_too() {
        let store = Store::embedded_with(Limits {
            inputs_bytes: 1000,
            ..Limits::default()
        });
        let mut blocked = store.raw();
        let ping = format!("PING {}\r\n", "x".repeat(2000));
        let sent = format!("XREAD BLOCK 0 STREAMS s $\r\n{ping}");
        let refused = ask(&mut blocked, sent.as_bytes(), "\n");
        assert!(
            refused.contains("this client has sent the most"),
            "{refused}"
        );
    }

    #[test]
    fn it_is_not_served_to_other_machines() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let refused = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
            serve(listener, Limits::default(), None, std::future::pending()).await
        });
        assert!(matches!(refused, Err(ServeError::NotLoopback(_))));
    }

    #[test]
    fn a_script_of_somebody_else_is_refused_with_the_way_out() {
        let store = Store::embedded();
        let refused = error(&mut store.connect(), "EVAL return 0");
        assert!(refused.contains("use a Redis server"), "{refused}");
    }
}
