//! The rung `exec`: the policy's command, with the incident in its environment.

use super::{Job, Obstacle, foreign};
use hbshell::process_group::ProcessGroup;
use hbshell::service_manager;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;

/// Of the output only the last line is shown.
const TAIL_BYTES: usize = 4096;
/// After the end of the command its output is read to here: what it left running may hold the pipe open.
const DRAIN_WITHIN: Duration = Duration::from_millis(500);

/// Why the command cannot be started: no file that may be executed is where it says.
pub(super) fn obstacle(command: &[String]) -> Option<String> {
    let program = command.first()?;
    let runs = |path: &std::path::Path| {
        let mode = nix::unistd::AccessFlags::X_OK;
        path.is_file() && nix::unistd::access(path, mode).is_ok()
    };
    let found = match program.contains('/') {
        true => runs(std::path::Path::new(program)),
        false => std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|dir| runs(&dir.join(program)))),
    };
    (!found).then(|| format!("{program} is no program that can be started"))
}

/// Runs the command to its end. After `within`, or when the future is dropped, its whole process group is killed.
pub(super) async fn run(job: &Job, within: Duration) -> Result<String, Obstacle> {
    let Some((program, arguments)) = job.exec.split_first() else {
        return Err(Obstacle::not_here("the policy names no command (exec)"));
    };
    let cannot = |error: std::io::Error| Obstacle::failed(cannot_start(program, &error));
    let (reader, writer) = std::io::pipe().map_err(cannot)?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(environment(job))
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(cannot)?)
        .stderr(writer)
        .process_group(0);
    for variable in service_manager::VARIABLES {
        command.env_remove(variable);
    }
    let mut output = Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(cannot)?;
    let mut child = command.spawn().map_err(cannot)?;
    drop(command); // with our ends of the pipe
    let group = ProcessGroup::of(child.id());
    let mut tail = Vec::new();
    let ended = tokio::time::timeout(within, async {
        tokio::select! {
            status = child.wait() => status,
            () = read_to_end(&mut output, &mut tail) => child.wait().await,
        }
    })
    .await;
    let Ok(status) = ended else {
        drop(group);
        let _ = child.wait().await; // killed
        return Err(Obstacle::failed(format!(
            "{program} was killed with its process group: it had not ended within {} s{}; let it start what takes longer in the background",
            within.as_secs(),
            last_line(&tail)
        )));
    };
    group.spare(); // what it left running in the background is the agent, as a rule
    let _ = tokio::time::timeout(DRAIN_WITHIN, read_to_end(&mut output, &mut tail)).await;
    let status = status.map_err(cannot)?;
    let sentence = format!("{program} {}{}", describe(status), last_line(&tail));
    if status.success() {
        Ok(sentence)
    } else {
        Err(Obstacle::failed(sentence))
    }
}

fn environment(job: &Job) -> [(&'static str, String); 7] {
    [
        ("HB_AGENT_ID", job.agent.to_string()),
        ("HB_AGENT_TYPE", job.agent_type.clone()),
        ("HB_HOST", job.host.clone()),
        ("HB_EPOCH", job.epoch.to_string()),
        ("HB_INCIDENT", job.incident.clone()),
        ("HB_REASON", job.reason.clone()),
        ("HB_TOKEN", job.token.to_string()),
    ]
}

async fn read_to_end(output: &mut Receiver, tail: &mut Vec<u8>) {
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = output.read(&mut piece).await {
        tail.extend_from_slice(&piece[..count]);
        tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
    }
}

fn last_line(tail: &[u8]) -> String {
    let text = String::from_utf8_lossy(tail);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.map(|line| format!(": {}", foreign(line)))
        .unwrap_or_default()
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

fn cannot_start(program: &str, error: &std::io::Error) -> String {
    let kind = error.kind();
    let remedy = if kind == ErrorKind::NotFound {
        "give the policy's exec the full path of a program whose interpreter exists, too"
    } else if kind == ErrorKind::PermissionDenied {
        "make it executable (chmod +x) for the user that hbmonitor runs as"
    } else {
        // The kernel's: a wrong format, no memory, too many processes.
        "begin a script with #!/bin/sh, and look at the limits of hbmonitor's user"
    };
    format!("cannot start {program}: {error}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::tests::job;
    use heartbeat::fleet::ladder::rung::Rung;
    use nix::sys::signal::Signal;
    use nix::unistd::Pid;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    const PATIENT: Duration = Duration::from_secs(58);

    fn shell(script: &str) -> Job {
        let mut job = job(Rung::Exec);
        job.exec = ["sh", "-c", script].map(str::to_owned).to_vec();
        job
    }

    fn failure(result: Result<String, Obstacle>) -> String {
        match result {
            Err(Obstacle::Failed(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_incident_is_in_the_environment() {
        let script =
            "echo $HB_AGENT_ID $HB_AGENT_TYPE $HB_HOST $HB_EPOCH $HB_INCIDENT $HB_REASON $HB_TOKEN";
        assert_eq!(
            run(&shell(script), PATIENT).await,
            Ok("sh exited with code 0: writer-1 writer node-3 7 i-1 heartbeat_lost 3".to_owned())
        );
    }

    #[tokio::test]
    async fn arguments_are_never_read_by_a_shell() {
        let mut job = job(Rung::Exec);
        job.exec = ["echo", "$HOME; `id` *"].map(str::to_owned).to_vec();
        assert_eq!(
            run(&job, PATIENT).await,
            Ok("echo exited with code 0: $HOME; `id` *".to_owned())
        );
    }

    #[tokio::test]
    async fn a_failure_shows_the_code_and_the_last_line() {
        let script = "echo first; echo 'no route to node-3' >&2; echo; exit 3";
        assert_eq!(
            failure(run(&shell(script), PATIENT).await),
            "sh exited with code 3: no route to node-3"
        );
    }

    #[tokio::test]
    async fn endless_output_is_read_and_bounded() {
        let script = "yes | head -c 3000000; printf '%01000d\\033[31m' 7; exit 1";
        let why = failure(run(&shell(script), PATIENT).await);
        assert!(why.len() < 400 && !why.contains('\u{1b}'), "{why}");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script = format!(
            "trap '' TERM; sleep 600 & echo $! >{0}; echo waiting; wait",
            pids.display()
        );
        let why = failure(run(&shell(&script), Duration::from_secs(4)).await);
        assert!(
            why.contains("was killed") && why.contains("waiting"),
            "{why}"
        );
        let sleeper = std::fs::read_to_string(&pids).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while is_alive(sleeper.trim()) {
            assert!(Instant::now() < deadline, "{sleeper} is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_dropped_rung_leaves_no_process() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let job = shell(&format!("echo $$ >{}; exec sleep 600", pids.display()));
        let pid = tokio::select! {
            ended = run(&job, PATIENT) => panic!("{ended:?}"),
            pid = async {
                loop {
                    match std::fs::read_to_string(&pids) {
                        Ok(pid) if pid.ends_with('\n') => break pid,
                        Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                    }
                }
            } => pid,
        };
        let deadline = Instant::now() + Duration::from_secs(60);
        while is_alive(pid.trim()) {
            assert!(Instant::now() < deadline, "{pid} is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn what_a_command_leaves_in_the_background_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        let script = format!("sleep 600 & echo $! >{}", pids.display());
        run(&shell(&script), PATIENT).await.unwrap();
        let pid = std::fs::read_to_string(&pids).unwrap();
        assert!(is_alive(pid.trim()), "{pid} was killed");
        let pid = Pid::from_raw(pid.trim().parse().unwrap());
        nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_started_names_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str, mode| {
            let path = dir.path().join(name);
            let written = dir.path().join(format!("{name}.txt"));
            std::fs::write(&written, text).unwrap();
            // Not by this process: a test that forks meanwhile would hold it open for writing, which is another fault.
            let copied = std::process::Command::new("cp")
                .args([&written, &path])
                .status();
            assert!(copied.unwrap().success());
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            path.display().to_string()
        };
        for (program, remedy) in [
            ("/no/such/program".to_owned(), "full path"),
            (file("plain", "#!/bin/sh\n", 0o644), "chmod +x"),
            (file("format", "\u{7f}neither\n", 0o755), "#!/bin/sh"),
        ] {
            let mut job = job(Rung::Exec);
            job.exec = vec![program.clone()];
            let why = failure(run(&job, PATIENT).await);
            assert!(why.contains(&program) && why.contains(remedy), "{why}");
        }
    }

    #[tokio::test]
    async fn without_a_command_the_rung_does_not_apply() {
        let result = run(&job(Rung::Exec), PATIENT).await;
        assert!(matches!(result, Err(Obstacle::NotHere(_))), "{result:?}");
    }

    fn is_alive(pid: &str) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !status.is_empty() && !status.contains(") Z ")
    }
}
