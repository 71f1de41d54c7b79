//! A second local user, with a real uid, tries to read, redirect, block and impersonate what the first one runs. Each test
//! is one attack; root runs them, since only root can be two others.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::{Running, clean, eventually, program};

/// Two users, and a directory that both may write to.
struct Users {
    first: u32,
    second: u32,
    shared: tempfile::TempDir,
    home: tempfile::TempDir,
}

impl Users {
    /// `None` for a user who is not root: then the tests say so by their assertion.
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !nix::unistd::geteuid().is_root() {
            let user = Command::new("id").arg("-u").output().unwrap().stdout;
            assert_ne!(user, b"0\n", "root can become another user");
            return None;
        }
        // Nobody else has these, and no other test of this machine.
        let first =
            1_000_000 + std::process::id() * 64 % 900_000 + NEXT.fetch_add(2, Ordering::Relaxed);
        let shared = tempfile::tempdir_in("/tmp").unwrap();
        let everybody = std::fs::Permissions::from_mode(0o1777);
        std::fs::set_permissions(shared.path(), everybody).unwrap();
        let home = tempfile::tempdir_in("/tmp").unwrap();
        chown(home.path(), Some(first), Some(first)).unwrap();
        Some(Self {
            first,
            second: first + 1,
            shared,
            home,
        })
    }

    /// Where the first user's programs meet when there is no XDG_RUNTIME_DIR.
    fn meeting_place(&self) -> PathBuf {
        PathBuf::from(format!("/tmp/hb-{}", self.first))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.shared.path().join(name)
    }

    fn as_user(&self, uid: u32, command: &mut Command) {
        command.uid(uid).gid(uid).current_dir(self.shared.path());
        command
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("XDG_STATE_HOME");
        command.env("HOME", self.home.path()).stdin(Stdio::null());
    }

    /// hbsidecar as the first user runs it.
    fn sidecar(&self, arguments: &[&str]) -> Command {
        let mut command = clean(&program("hbsidecar"));
        self.as_user(self.first, &mut command);
        command.args(arguments);
        command
    }

    /// A script of the second user.
    fn attack(&self, script: &str) -> Output {
        let mut command = Command::new("sh");
        self.as_user(self.second, &mut command);
        command.args(["-c", script]).output().unwrap()
    }

    /// What the second user puts where the first one's programs meet.
    fn occupy(&self, what: impl FnOnce(&Path)) {
        let place = self.meeting_place();
        std::fs::create_dir(&place).unwrap();
        what(&place);
        self.give_to_second(&place);
    }

    fn give_to_second(&self, path: &Path) {
        chown(path, Some(self.second), Some(self.second)).unwrap();
        if path.is_dir() {
            for entry in std::fs::read_dir(path).unwrap() {
                self.give_to_second(&entry.unwrap().path());
            }
        }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        let place = self.meeting_place();
        let _ = std::fs::remove_file(&place);
        let _ = std::fs::remove_dir_all(&place);
    }
}

const ANSWERED: &str = "\"$HB\" notify progress=1 && echo answered";

fn answered(mut command: Command, script: &str) -> String {
    let output = command
        .env("HB", program("hbsidecar"))
        .args(["--", "sh", "-c", script])
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "answered\n",
        "{log}"
    );
    log
}

const NOWHERE: [&str; 2] = ["--redis-url", "redis://127.0.0.1:1"];

#[test]
fn attack_1_redirect_a_store_published_in_a_directory_that_was_made_first() {
    let Some(users) = Users::new() else { return };
    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    theirs.set_nonblocking(true).unwrap();
    let url = format!("redis://{}\n", theirs.local_addr().unwrap());
    users.occupy(|place| std::fs::write(place.join("store-url"), url).unwrap());
    let mut agent = Running::start(
        users
            .sidecar(&["--id", "a1", "--", "sleep", "3"])
            .stderr(Stdio::null()),
    );
    agent.wait();
    assert!(
        theirs.accept().is_err(),
        "the sidecar went to the store of another user"
    );
}

#[test]
fn attack_2_redirect_a_link_in_the_place_of_the_directory() {
    let Some(users) = Users::new() else { return };
    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    theirs.set_nonblocking(true).unwrap();
    let elsewhere = users.path("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let url = format!("redis://{}\n", theirs.local_addr().unwrap());
    std::fs::write(elsewhere.join("store-url"), url).unwrap();
    // Even a directory of the first user's own: the link is the second one's.
    chown(&elsewhere, Some(users.first), Some(users.first)).unwrap();
    chown(
        elsewhere.join("store-url"),
        Some(users.first),
        Some(users.first),
    )
    .unwrap();
    symlink(&elsewhere, users.meeting_place()).unwrap();
    let mut agent = Running::start(
        users
            .sidecar(&["--id", "a1", "--", "sleep", "3"])
            .stderr(Stdio::null()),
    );
    agent.wait();
    assert!(theirs.accept().is_err(), "a link was followed");
}

#[test]
fn attack_3_read_a_password_meant_for_a_configured_store() {
    let Some(users) = Users::new() else { return };
    let theirs = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}\n", theirs.local_addr().unwrap());
    // The worst case: the published address is trusted, as one of the user's own monitor that has ended.
    let runtime = users.home.path().join("run");
    std::fs::create_dir_all(runtime.join("hb")).unwrap();
    std::fs::write(runtime.join("hb/store-url"), url).unwrap();
    std::fs::write(users.home.path().join("password"), "hushhush").unwrap();
    for path in ["run", "run/hb", "run/hb/store-url", "password"] {
        chown(
            users.home.path().join(path),
            Some(users.first),
            Some(users.first),
        )
        .unwrap();
    }
    let password = users.home.path().join("password");
    let mut command = users.sidecar(&["--id", "a1", "--redis-password-file"]);
    command.arg(password).env("XDG_RUNTIME_DIR", &runtime);
    let mut agent = Running::start(command.args(["--", "sleep", "2"]).stderr(Stdio::null()));
    agent.wait();
    theirs.set_nonblocking(true).unwrap();
    let mut received = Vec::new();
    while let Ok((mut connection, _)) = theirs.accept() {
        connection
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let _ = connection.read_to_end(&mut received);
    }
    let received = String::from_utf8_lossy(&received).into_owned();
    assert!(!received.contains("hushhush"), "{received}");
}

#[test]
fn attack_4_block_the_sockets_by_making_their_directory_first() {
    let Some(users) = Users::new() else { return };
    users.occupy(|_| {});
    let log = answered(users.sidecar(&NOWHERE), ANSWERED);
    assert!(log.contains("must be a directory of user"), "{log}");
    assert!(log.contains(".hb-run"), "another place is named: {log}");
}

#[test]
fn attack_5_block_a_wanted_socket_by_binding_it_first() {
    let Some(users) = Users::new() else { return };
    let socket = users.path("s.sock");
    let _theirs = UnixListener::bind(&socket).unwrap();
    users.give_to_second(&socket);
    let wanted = ["--socket", socket.to_str().unwrap()];
    let log = answered(users.sidecar(&[&NOWHERE[..], &wanted].concat()), ANSWERED);
    assert!(log.contains("in use by another program"), "{log}");
    assert!(socket.exists(), "the other user's socket is left alone");
}

#[test]
fn attack_6_impersonate_the_agent_through_its_socket() {
    let Some(users) = Users::new() else { return };
    let socket = users.path("s.sock");
    let flags = [
        "--id",
        "a1",
        "--socket",
        socket.to_str().unwrap(),
        "--",
        "sleep",
        "1000",
    ];
    let _agent = Running::start(
        users
            .sidecar(&[&NOWHERE[..], &flags].concat())
            .stderr(Stdio::null()),
    );
    eventually("the socket is there", || socket.exists().then_some(()));
    let hb = program("hbsidecar");
    let attack = users.attack(&format!("{hb:?} notify --socket {socket:?} task=forged"));
    assert_eq!(attack.status.code(), Some(1));
    let error = String::from_utf8(attack.stderr).unwrap();
    assert!(error.contains("ermission denied"), "{error}");
}

#[test]
fn attack_7_impersonate_the_agent_through_a_status_file_that_was_made_first() {
    let Some(users) = Users::new() else { return };
    let file = users.path("status");
    std::fs::write(&file, "").unwrap();
    users.give_to_second(&file);
    let log = users.path("log");
    let flags = [
        "-v",
        "--id",
        "a1",
        "--restart",
        "never",
        "--status-file",
        file.to_str().unwrap(),
    ];
    let mut agent = Running::start(
        users
            .sidecar(&[&NOWHERE[..], &flags, &["--", "sleep", "1.5"]].concat())
            .stderr(std::fs::File::create(&log).unwrap()),
    );
    eventually("the agent runs", || {
        std::fs::read_to_string(&log)
            .unwrap()
            .contains("accepting")
            .then_some(())
    });
    users.attack(&format!("echo task=forged > {file:?}"));
    agent.wait();
    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("another user's"), "{log}");
    assert!(!log.contains("status lines: 1"), "{log}");
}

#[test]
fn attack_8_impersonate_a_healthy_sidecar() {
    let Some(users) = Users::new() else { return };
    let mut listener = None;
    users.occupy(|place| listener = Some(UnixListener::bind(place.join("a1.sock")).unwrap()));
    let listener = listener.unwrap();
    std::thread::spawn(move || {
        use std::io::Write;
        for connection in listener.incoming() {
            let _ = connection.and_then(|mut connection| connection.write_all(b"ok\n"));
        }
    });
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(users.meeting_place(), open.clone()).unwrap();
    std::fs::set_permissions(users.meeting_place().join("a1.sock"), open).unwrap();
    let output = users.sidecar(&["healthcheck"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn attack_9_have_a_process_of_ones_own_adopted_or_ended_as_an_orphan() {
    let Some(users) = Users::new() else { return };
    let mark = "00000000-0000-0000-0000-000000000000/a1";
    let mut decoy = Command::new("sleep");
    users.as_user(users.second, &mut decoy);
    let decoy = Running::spawn(decoy.arg("1000").env("HB_INSTANCE", mark));
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", decoy.pid())).unwrap();
    let started = stat
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(19)
        .unwrap()
        .to_owned();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap();
    let namespace = namespace
        .to_str()
        .unwrap()
        .trim_matches(|c: char| !c.is_ascii_digit())
        .to_owned();
    users.occupy(|place| {
        let record = format!(
            "{} {namespace} 4194303 9 h\ni\n{} {started}\n0\nHB_INSTANCE={mark}\n",
            boot.trim(),
            decoy.pid()
        );
        std::fs::write(place.join("a1.run"), record).unwrap();
    });
    answered(
        users.sidecar(&[&NOWHERE[..], &["--id", "a1"]].concat()),
        ANSWERED,
    );
    let mut decoy = decoy;
    assert_eq!(decoy.0.try_wait().unwrap(), None, "it was left alone");
}

#[test]
fn attack_10_read_or_change_what_stands_in_the_runtime_directory() {
    let Some(users) = Users::new() else { return };
    let flags = ["--id", "a1", "--", "sleep", "1000"];
    let _agent = Running::start(
        users
            .sidecar(&[&NOWHERE[..], &flags].concat())
            .stderr(Stdio::null()),
    );
    let place = users.meeting_place();
    eventually("it is recorded", || {
        place.join("a1.run").exists().then_some(())
    });
    for script in [
        "ls P",
        "cat P/a1.run",
        "rm -f P/a1.sock",
        "echo x > P/store-url",
        "mv P P.away",
    ] {
        let attack = users.attack(&script.replace('P', place.to_str().unwrap()));
        assert_ne!(attack.status.code(), Some(0), "{script}: {attack:?}");
    }
    assert!(place.join("a1.sock").exists() && !place.join("store-url").exists());
}

#[test]
fn attack_11_block_the_monitor_that_embeds_a_store() {
    let Some(users) = Users::new() else { return };
    users.occupy(|_| {});
    // A network of its own: no other store is near.
    let script = r#"ip link set lo up
setpriv --reuid U --regid U --clear-groups M --listen 127.0.0.1:0 >monitor 2>&1 &
until grep -q http:// monitor; do sleep 0.05; done
setpriv --reuid U --regid U --clear-groups S --id a1 --interval 200ms -- sleep 1000 2>sidecar &
A=$(grep -o 'http://[0-9.:]*' monitor | head -1)
for i in $(seq 1000); do curl -s $A/health/agents/a1 | grep -q '"state":"healthy"' && break; sleep 0.05; done
curl -s $A/health/agents/a1; kill $(jobs -p); wait"#;
    let script = script
        .replace('U', &users.first.to_string())
        .replace(
            "M --listen",
            &format!("{:?} --listen", program("hbmonitor")),
        )
        .replace("S --id", &format!("{:?} --id", program("hbsidecar")));
    let mut unshare = clean(Path::new("unshare"));
    unshare
        .args(["-n", "bash", "-c", &script])
        .current_dir(users.shared.path());
    unshare
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("XDG_STATE_HOME");
    let output = unshare.env("HOME", users.home.path()).output().unwrap();
    let health = String::from_utf8_lossy(&output.stdout).into_owned();
    let monitor = std::fs::read_to_string(users.path("monitor")).unwrap();
    assert!(
        health.contains(r#""state":"healthy""#),
        "{health} {monitor}"
    );
    assert!(
        monitor.contains(".hb-run"),
        "another place is named: {monitor}"
    );
}
