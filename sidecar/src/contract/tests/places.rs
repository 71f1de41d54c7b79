//! Where the sockets are.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path)
        .unwrap()
        .permissions()
        .mode()
        & 0o7777
}

async fn works(contract: &mut Contract) {
    let mut agent = connect(contract).await;
    agent.write_all(b"progress=1\n").await.unwrap();
    next(contract).await;
}

#[tokio::test]
async fn both_sockets_are_for_this_user_alone_and_go_with_the_contract() {
    let (contract, directory) = opened();
    let paths = ["a1.sock", "a1.notify"].map(|name| directory.path().join(name));
    for path in &paths {
        assert_eq!(mode(path), 0o600);
    }
    drop(contract);
    assert!(paths.iter().all(|path| !path.exists()));
}

#[tokio::test]
async fn a_path_that_is_too_long_gives_way_to_a_short_private_directory() {
    let directory = tempfile::tempdir().unwrap();
    let long = directory.path().join("d".repeat(100));
    std::fs::create_dir(&long).unwrap();
    let contract = Contract::open(Settings {
        socket: Some(long.join("a1.sock")),
        ..settings(&long)
    });
    let mut contract = contract.unwrap();
    works(&mut contract).await;
    let private = contract.socket().unwrap().parent().unwrap().to_owned();
    assert_eq!(
        (
            mode(&private),
            contract.socket().unwrap().as_os_str().len() < 60
        ),
        (0o700, true)
    );
    assert!(
        std::fs::read_dir(&long).unwrap().next().is_none(),
        "nothing is left there"
    );
    drop(contract);
    assert!(!private.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a1.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    drop(std::os::unix::net::UnixDatagram::bind(directory.path().join("a1.notify")).unwrap());
    let before = std::fs::symlink_metadata(&path).unwrap();
    let mut contract = Contract::open(settings(directory.path())).unwrap();
    assert_eq!(contract.socket().unwrap(), path);
    works(&mut contract).await;
    assert!(before.ctime_nsec() != std::fs::symlink_metadata(&path).unwrap().ctime_nsec());
}

#[tokio::test]
async fn a_socket_that_somebody_answers_is_left_to_them() {
    let (mut first, directory) = opened();
    let mut second = Contract::open(settings(directory.path())).unwrap();
    assert_ne!(first.socket().unwrap(), second.socket().unwrap());
    works(&mut first).await;
    works(&mut second).await;
    drop(second);
    works(&mut first).await;
}

#[tokio::test]
async fn what_is_no_socket_is_never_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a1.sock");
    std::fs::write(&path, "precious").unwrap();
    let mut contract = Contract::open(settings(directory.path())).unwrap();
    works(&mut contract).await;
    drop(contract);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_no_reason_to_have_no_socket() {
    let settings = settings(Path::new("/no/such/directory"));
    works(&mut Contract::open(settings).unwrap()).await;
}

#[tokio::test]
async fn twenty_contracts_opened_at_once_in_one_directory_are_all_there() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Handle::current();
    let open = |n: usize| {
        let (runtime, path) = (runtime.clone(), directory.path().to_owned());
        std::thread::spawn(move || {
            let _inside = runtime.enter();
            let socket = Some(path.join(format!("{n}.sock")));
            Contract::open(Settings {
                socket,
                ..settings(&path)
            })
            .unwrap()
        })
    };
    let threads: Vec<_> = (0..20).map(open).collect();
    let mut there = 0;
    for thread in threads {
        let mut contract = thread.join().unwrap();
        there += i32::from(contract.socket().unwrap().starts_with(directory.path()));
        works(&mut contract).await;
    }
    // Each waits for the others half a second at most, and a busy machine may stop one for longer.
    assert!(there > 15, "{there} of 20");
}

/// How often a thread has gone to sleep by itself.
fn sleeps(tid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/self/task/{tid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("voluntary_ctxt"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn nothing_wakes_up_while_nobody_says_anything() {
    if !is_alone("places::nothing_wakes_up_while_nobody_says_anything") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let (send_id, id) = std::sync::mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let hub = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let status_file = Some(path.join("status"));
            let mut contract = Contract::open(Settings {
                status_file,
                ..settings(&path)
            })
            .unwrap();
            let _idle = connect(&contract).await;
            send_id.send(nix::unistd::gettid().as_raw()).unwrap();
            tokio::select! {
                Some(line) = contract.lines.recv() => panic!("{line:?}"),
                _ = ended => {}
            }
        });
    });
    let hub_tid = id.recv().unwrap();
    // A thread takes its name itself, some time after it was started.
    let follower = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let named = |entry: &std::fs::DirEntry| {
            std::fs::read_to_string(entry.path().join("comm"))
                .is_ok_and(|name| name.trim() == "status-file")
        };
        tasks
            .flatten()
            .filter(named)
            .map(|e| e.file_name().to_str().unwrap().parse().unwrap())
            .max()
    };
    let start = Instant::now();
    let file_tid: i32 = loop {
        match follower() {
            Some(tid) => break tid,
            None => assert!(start.elapsed() < WITHIN, "no thread follows the file"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let all = || (sleeps(hub_tid), sleeps(file_tid));
    // Starting is over when both have been asleep for a while; what wakes up each second never is.
    let mut before = all();
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_millis(2500) {
        assert!(start.elapsed() < WITHIN, "they wake up again and again");
        std::thread::sleep(Duration::from_millis(50));
        if all() != before {
            (before, since) = (all(), Instant::now());
        }
    }
    end.send(()).unwrap();
    hub.join().unwrap();
}
