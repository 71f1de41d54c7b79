//! What a kubelet does to an agent's container and to the sidecar that is attached to it, without a cluster.

use crate::harness::{Day, INTERVAL, Launch, Sidecar, a_day};
use crate::support::{Running, eventually};

/// A word that only the command line of this story's agent has.
fn name(day: &Day) -> String {
    format!("pod-{}.sh", day.redis.borrow().port)
}

/// A container's first process, which another program starts.
fn container(day: &Day, script: &str) -> Running {
    day.write(&name(day), script);
    day.foreign(&["sh", &name(day)])
}

/// A native sidecar beside it, when it watches.
fn beside(day: &Day, agent: &Running) -> Sidecar {
    let sidecar = day.agent("a1").matches(&name(day));
    day.shows("a1", "pid", agent.0.id());
    day.becomes("a1", "healthy");
    sidecar
}

/// The agent's container first, then the sidecar's.
fn pod_is_deleted(agent: &mut Running, sidecar: &mut Sidecar) {
    agent.signal("TERM");
    agent.exit_code();
    assert_eq!(sidecar.stop(), 0);
}

const WORKS: &str = "while :; do sleep 0.05; done\n";

#[test]
fn a_pod_is_deleted_however_its_agent_ends_when_it_is_asked_to() {
    for answer in ["", "trap 'exit 0' TERM\n", "trap 'exit 143' TERM\n"] {
        a_day(|day| {
            let mut agent = container(day, &format!("{answer}{WORKS}"));
            let mut sidecar = beside(day, &agent);
            pod_is_deleted(&mut agent, &mut sidecar);
            day.becomes("a1", "stopped");
            day.stays("a1", "stopped", 4 * INTERVAL);
            day.shows("a1", "reason", ());
            day.story("a1", &["healthy", "stopped"]);
        });
    }
}

#[test]
fn the_other_container_of_a_deleted_pod_takes_its_time() {
    a_day(|day| {
        let mut agent = container(day, WORKS);
        let mut sidecar = beside(day, &agent);
        agent.signal("TERM");
        agent.exit_code();
        day.becomes("a1", "stopped");
        day.stays("a1", "stopped", 4 * INTERVAL);
        sidecar.stop();
        day.stays("a1", "stopped", 4 * INTERVAL);
        day.story("a1", &["healthy", "stopped"]);
    });
}

#[test]
fn a_container_is_restarted_because_its_probe_failed() {
    a_day(|day| {
        let mut old = container(day, WORKS);
        let _sidecar = beside(day, &old);
        old.signal("TERM");
        old.exit_code();
        let new = container(day, WORKS);
        day.shows("a1", "pid", new.0.id());
        day.becomes("a1", "healthy");
        day.shows("a1", "restarts", 1);
        let story = day.monitor().story("a1");
        assert!(!story.contains(&"failed".to_owned()), "{story:?}");
    });
}

#[test]
fn a_failed_job_stays_failed_after_its_sidecar_has_ended() {
    a_day(|day| {
        let mut agent = container(day, "sleep 1.2; exit 3\n");
        let mut sidecar = beside(day, &agent);
        assert_eq!(agent.exit_code(), Some(3));
        assert_eq!(sidecar.stop(), 0);
        day.becomes("a1", "failed");
        day.shows("a1", "reason", "exited");
        day.stays("a1", "failed", 5 * INTERVAL);
        day.story("a1", &["healthy", "failed"]);
    });
}

#[test]
fn a_failed_job_stays_failed_for_a_new_monitor() {
    a_day(|day| {
        let mut agent = container(day, "sleep 1.2; exit 3\n");
        let mut sidecar = beside(day, &agent);
        agent.exit_code();
        day.becomes("a1", "failed");
        sidecar.stop();
        day.monitor_is_killed_and_started();
        day.becomes("a1", "failed");
        day.stays("a1", "failed", 3 * INTERVAL);
        day.story("a1", &["failed"]);
    });
}

#[test]
fn a_job_that_completes_is_stopped() {
    a_day(|day| {
        let mut agent = container(day, "sleep 1.2; exit 0\n");
        let mut sidecar = beside(day, &agent);
        agent.exit_code();
        sidecar.stop();
        day.becomes("a1", "stopped");
        day.stays("a1", "stopped", 4 * INTERVAL);
        day.story("a1", &["healthy", "stopped"]);
    });
}

#[test]
fn an_agent_that_others_run_and_that_hangs_is_ended_for_them_to_start_again() {
    a_day(|day| {
        // A lock that its only thread holds.
        let hangs = "import ctypes; libc = ctypes.CDLL(None); lock = ctypes.create_string_buffer(64); \
                     libc.pthread_mutex_lock(lock); libc.pthread_mutex_lock(lock)";
        let mark = name(day);
        let mut agent = day.foreign(&["python3", "-c", hangs, &mark]);
        let _sidecar = day.agent("a1").with(&["--patience", "0.05"]).matches(&mark);
        day.shows("a1", "pid", agent.0.id());
        assert_eq!(agent.exit_code(), Some(143));
        let again = day.foreign(&["python3", "-c", "import time; time.sleep(1000)", &mark]);
        day.shows("a1", "pid", again.0.id());
        day.becomes("a1", "healthy");
        let story = day.monitor().story("a1");
        assert!(story.contains(&"failed".to_owned()), "{story:?}");
    });
}

fn in_pod<'a>(day: &'a Day, pod: &str, launch: Launch<'a>) -> Launch<'a> {
    launch
        .apart(pod)
        .below(&[
            "env",
            &format!("HB_POD_NAME={pod}"),
            "HB_POD_NAMESPACE=agents",
        ])
        .store(&day.url())
}

#[test]
fn two_pods_with_the_network_of_their_node_are_two_agents() {
    a_day(|day| {
        let _pods = ["pod-1", "pod-2"].map(|pod| in_pod(day, pod, day.unnamed_agent()).sleeps());
        for id in ["pod-1-sleep", "pod-2-sleep"] {
            day.becomes(id, "healthy");
        }
        assert_eq!(day.monitor().fleet("")["total"], 2);
    });
}

#[test]
fn a_second_pod_of_one_id_says_what_to_change() {
    a_day(|day| {
        let _old = in_pod(day, "pod-1", day.agent("a1")).starts();
        let mut new = in_pod(day, "pod-2", day.agent("a1")).sleeps();
        assert_eq!(new.ends(), 73);
        for words in ["--takeover", "strategy: {type: Recreate}"] {
            new.logs(words);
        }
    });
}

#[test]
fn a_pod_that_is_not_named_says_which_lines_are_missing() {
    a_day(|day| {
        let launch = day.agent("a1").below(&["env", "HB_POD_NAME=pod-1"]);
        let sidecar = launch.starts();
        sidecar.logs("fieldPath: metadata.namespace");
        let named = in_pod(day, "pod-2", day.agent("a2")).starts();
        assert!(!named.log().contains("fieldPath"), "{}", named.log());
    });
}

#[test]
fn a_sidecar_that_sees_no_other_process_says_so_and_is_not_healthy() {
    a_day(|day| {
        let apart = [
            "unshare",
            "--map-root-user",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ];
        let sidecar = day.agent("a1").below(&apart).matches("agent.py");
        day.becomes("a1", "stopped");
        day.says("a1", "sentence", "shareProcessNamespace: true");
        sidecar.logs("shareProcessNamespace: true");
    });
}

#[test]
fn a_search_that_finds_two_says_so_until_one_is_left() {
    a_day(|day| {
        let _sidecar = day.agent("a1").matches(&name(day));
        day.becomes("a1", "stopped");
        day.write(&name(day), WORKS);
        let first = day.foreign(&["sh", &name(day)]);
        day.shows("a1", "pid", first.0.id());
        let second = day.foreign(&["sh", &name(day)]);
        let third = day.foreign(&["sh", &name(day)]);
        drop(first);
        eventually("it names both", || {
            let sentence = day.health("a1")["sentence"].as_str()?.to_owned();
            let all = [&second, &third].map(|agent| agent.0.id().to_string());
            let what = day.health("a1")["state"] == "failed"
                || all.iter().all(|pid| sentence.contains(pid));
            what.then_some(())
        });
        drop(second);
        day.shows("a1", "pid", third.0.id());
        day.becomes("a1", "healthy");
    });
}

#[test]
fn without_a_place_for_sockets_the_status_file_is_read_all_the_same() {
    a_day(|day| {
        let file = day.path("status");
        let closed = "mount -t tmpfs -o ro none /tmp && mount -t tmpfs -o ro none /run && \
                      XDG_RUNTIME_DIR=/sys XDG_STATE_HOME=/sys HOME=/sys TMPDIR=/sys exec \"$@\"";
        let launch = day
            .agent("a1")
            .with(&["--status-file", file.to_str().unwrap()]);
        let before = [
            "unshare",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            closed,
            "sh",
        ];
        let sidecar = launch
            .below(&before)
            .runs("while :; do echo task=index progress=7 > \"$HB_STATUS_FILE\"; sleep 0.2; done");
        day.shows("a1", "currentTask", "index");
        sidecar.logs("reading the status file alone");
    });
}
