//! The room as its agents see it.

mod files;
mod floods;
mod one_liners;
mod places;

use super::{Belongs, Contract, Health, Settings, StatusLine};
use heartbeat::base::id::AgentId;
use heartbeat::contract::line::{Field, LINE_BYTES_MAX};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Nothing here takes long; this is for machines that do.
const WITHIN: Duration = Duration::from_secs(60);

fn settings(directory: &Path) -> Settings {
    Settings {
        id: AgentId::nearest("a1"),
        socket: Some(directory.join("a1.sock")),
        status_file: None,
        is_of_tree: Arc::new(|_| Belongs::Yes),
    }
}

fn opened() -> (Contract, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (
        Contract::open(settings(directory.path())).unwrap(),
        directory,
    )
}

async fn connect(contract: &Contract) -> UnixStream {
    UnixStream::connect(contract.socket().unwrap())
        .await
        .unwrap()
}

async fn next(contract: &mut Contract) -> StatusLine {
    tokio::time::timeout(WITHIN, contract.lines.recv())
        .await
        .expect("no line came")
        .unwrap()
}

/// The next answer, with its end.
async fn answer(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    while !text.ends_with('\n') {
        let byte = tokio::time::timeout(WITHIN, stream.read_u8())
            .await
            .expect("no answer came");
        text.push(char::from(byte.unwrap()));
    }
    text
}

async fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WITHIN, "it did not come true");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Repeats a line until it is taken: after a flood the limit drops what comes in the same second.
async fn until_taken(contract: &mut Contract, value: f64, mut send: impl AsyncFnMut()) {
    let start = Instant::now();
    while !contract
        .lines
        .try_recv()
        .is_ok_and(|line| progress(&line) == value)
    {
        assert!(start.elapsed() < WITHIN, "no line was taken");
        send().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether this is the process of this test alone: no other test takes memory or wakes up there. Else it is run there.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "HB_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut alone = std::process::Command::new(std::env::current_exe().unwrap());
    let name = format!("contract::tests::{test}");
    alone.args([&name, "--exact", "--nocapture"]);
    let output = alone.env(ALONE, "1").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}{errors}"
    );
    false
}

fn progress(received: &StatusLine) -> f64 {
    match received.line.progress {
        Field::Set(progress) => progress,
        Field::Kept | Field::Cleared => panic!("{received:?} has no progress"),
    }
}

#[tokio::test]
async fn a_line_reaches_the_hub_and_nobody_is_answered() {
    let (mut contract, _directory) = opened();
    let mut agent = connect(&contract).await;
    agent
        .write_all(b"task=build progress=10\n\n{\"progress\":11}\r\n")
        .await
        .unwrap();
    assert_eq!(next(&mut contract).await.raw, "task=build progress=10");
    assert_eq!(progress(&next(&mut contract).await), 11.0);
    assert_eq!(
        agent.try_read(&mut [0; 9]).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    assert_eq!(contract.counts().taken, 2);
}

#[tokio::test]
async fn bad_lines_are_answered_counted_and_the_connection_lives() {
    let (mut contract, _directory) = opened();
    let mut agent = connect(&contract).await;
    for (line, expected) in [
        (b"progress=150\n".to_vec(), "0 to 100"),
        (b"progress=NaN\n".to_vec(), "0 to 100"),
        (b"progress=-1\n".to_vec(), "0 to 100"),
        (b"task=a\0b\n".to_vec(), "NUL"),
        (b"task=\xff\n".to_vec(), "UTF-8"),
        (b"task=a task=b\n".to_vec(), "twice"),
        (b"hello\n".to_vec(), "key=value"),
        (
            [&b"{\"task\":"[..], &[b'['; 5000], b"\n"].concat(),
            "task is a text",
        ),
        ([&[b'x'; LINE_BYTES_MAX + 1][..], b"\n"].concat(), "8192"),
    ] {
        agent.write_all(&line).await.unwrap();
        let error = answer(&mut agent).await;
        assert!(
            error.starts_with("error: ") && error.contains(expected),
            "{error}"
        );
    }
    agent.write_all(b"progress=7\n").await.unwrap();
    assert_eq!(progress(&next(&mut contract).await), 7.0);
    assert_eq!((contract.counts().refused, contract.counts().taken), (9, 1));
}

#[tokio::test]
async fn a_line_without_an_end_is_refused_and_the_socket_lives() {
    let (mut contract, _directory) = opened();
    let mut agent = connect(&contract).await;
    agent.write_all(b"progress=4").await.unwrap();
    agent.shutdown().await.unwrap();
    assert!(answer(&mut agent).await.contains("newline"));
    let mut agent = connect(&contract).await;
    agent.write_all(b"progress=42\n").await.unwrap();
    assert_eq!(progress(&next(&mut contract).await), 42.0);
    assert_eq!(contract.counts().refused, 1);
}

#[tokio::test]
async fn whoever_is_not_of_the_tree_is_told_so_and_may_still_ask_for_health() {
    let directory = tempfile::tempdir().unwrap();
    let contract = Contract::open(Settings {
        is_of_tree: Arc::new(|_| Belongs::No),
        ..settings(directory.path())
    });
    let mut contract = contract.unwrap();
    let mut stranger = connect(&contract).await;
    stranger
        .write_all(b"progress=1\nprogress=2\nhb?\n")
        .await
        .unwrap();
    assert!(
        answer(&mut stranger)
            .await
            .contains("not of this agent's tree")
    );
    assert!(answer(&mut stranger).await.contains("no beat was sent yet"));
    let notify = tokio::net::UnixDatagram::unbound().unwrap();
    notify
        .send_to(b"READY=1", directory.path().join("a1.notify"))
        .await
        .unwrap();
    until(|| contract.counts().foreign == 3).await;
    assert!(contract.lines.try_recv().is_err());
}

#[tokio::test]
async fn a_sender_that_is_gone_already_is_believed() {
    let directory = tempfile::tempdir().unwrap();
    let contract = Contract::open(Settings {
        is_of_tree: Arc::new(|_| Belongs::Gone),
        ..settings(directory.path())
    });
    let mut contract = contract.unwrap();
    connect(&contract)
        .await
        .write_all(b"progress=1\n")
        .await
        .unwrap();
    assert_eq!(progress(&next(&mut contract).await), 1.0);
}

#[tokio::test]
async fn the_kernel_names_the_sender() {
    let directory = tempfile::tempdir().unwrap();
    let me = i32::try_from(std::process::id()).unwrap();
    let contract = Contract::open(Settings {
        is_of_tree: Arc::new(move |pid| if pid == me { Belongs::Yes } else { Belongs::No }),
        ..settings(directory.path())
    });
    let mut contract = contract.unwrap();
    let notify = tokio::net::UnixDatagram::unbound().unwrap();
    notify
        .send_to(b"X_HB_PROGRESS=5", directory.path().join("a1.notify"))
        .await
        .unwrap();
    assert_eq!(progress(&next(&mut contract).await), 5.0);
    connect(&contract)
        .await
        .write_all(b"progress=6\n")
        .await
        .unwrap();
    assert_eq!(progress(&next(&mut contract).await), 6.0);
}

#[tokio::test]
async fn a_health_check_is_answered_with_what_the_hub_last_told() {
    let (contract, _directory) = opened();
    let mut asks = connect(&contract).await;
    for (health, answered) in [
        (Health::Beating, "ok\n"),
        (
            Health::NotBeating("the store is not reached".into()),
            "ok: the store is not reached\n",
        ),
    ] {
        contract.health.send_replace(health);
        asks.write_all(b"hb?\n").await.unwrap();
        assert_eq!(answer(&mut asks).await, answered);
    }
    assert_eq!(contract.counts(), super::Counts::default());
}

#[tokio::test]
async fn a_sender_that_reads_no_answers_loses_them_and_nothing_else() {
    let (mut contract, _directory) = opened();
    let mut agent = connect(&contract).await;
    for _ in 0..30 {
        // 100 KiB of questions at once, answers never read.
        agent.write_all(&b"hb?\n".repeat(25_000)).await.unwrap();
    }
    agent.write_all(b"progress=8\n").await.unwrap();
    assert_eq!(progress(&next(&mut contract).await), 8.0);
}

#[tokio::test]
async fn sd_notify_is_spoken_and_a_barrier_lifted() {
    let (mut contract, directory) = opened();
    let environment = contract.environment();
    let notify = directory.path().join("a1.notify");
    assert!(environment.contains(&("NOTIFY_SOCKET", notify.clone().into())));
    let received = std::process::Command::new("systemd-notify")
        .args([
            "--ready",
            "--status=indexing",
            "X_HB_TASK=index repo",
            "X_HB_PROGRESS=42",
        ])
        .env("NOTIFY_SOCKET", &notify)
        .spawn();
    let Ok(mut said_by) = received else {
        panic!("systemd-notify is not installed: run scripts/test-deps");
    };
    let received = next(&mut contract).await;
    assert!(received.line.ready && progress(&received) == 42.0);
    assert_eq!(received.line.status, Field::Set("indexing".into()));
    // It waits for its barrier: five seconds, and then an error, if its descriptor is not closed.
    let start = Instant::now();
    while said_by.try_wait().unwrap().is_none() {
        assert!(start.elapsed() < WITHIN, "it does not end");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(said_by.wait().unwrap().success(), "no barrier was lifted");
}

#[tokio::test]
async fn a_datagram_too_long_is_refused_whole_and_the_next_is_taken() {
    let (mut contract, directory) = opened();
    let notify = tokio::net::UnixDatagram::unbound().unwrap();
    notify.connect(directory.path().join("a1.notify")).unwrap();
    notify.send(&[b'x'; LINE_BYTES_MAX + 1]).await.unwrap();
    notify.send(b"READY=1\nX_HB_PROGRESS=150").await.unwrap();
    notify.send(b"X_HB_PROGRESS=15").await.unwrap();
    let received = next(&mut contract).await;
    assert!(progress(&received) == 15.0 && !received.line.ready);
    assert_eq!(contract.counts().refused, 2);
}

/// Private memory of this process, in KiB.
fn memory_kb() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let of = |name: &str| -> u64 {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    of("Private_Dirty:")
}
