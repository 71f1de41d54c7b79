//! The client's side of the contract, for shells and hooks: `hbsidecar notify` and `hbsidecar healthcheck`.
//!
//! An agent may run it and read its exit code as an order. With `--hook` it prints nothing, is quick and always succeeds.

use crate::config::exit;
use hbshell::log_writer::complain;
use hbshell::private_dir::PrivateDir;
use heartbeat::contract::agent_streams;
use heartbeat::contract::line::{Line, pair};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the sidecar may take for an answer: less than a millisecond on a machine that is not overloaded.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// The same when it had time to answer: its answer can be read already.
const ANSWER_IS_THERE: Duration = Duration::from_millis(20);
/// The request of a health check.
const QUESTION: &[u8] = b"hb?\n";
/// An agent waits for its hooks.
const HOOK_WITHIN: Duration = Duration::from_millis(250);
/// The longest hook input that is read, and the end of a transcript that is read.
const INPUT_BYTES_MAX: u64 = 1024 * 1024;

/// Send one status line of this agent.
#[derive(Debug, clap::Args)]
pub(crate) struct NotifyArgs {
    /// Status to report, as in progress=42 task="index repo" state=working
    #[arg(value_name = "KEY=VALUE", required_unless_present = "hook")]
    pairs: Vec<String>,
    /// The sidecar's socket
    #[arg(long, env = "HB_SOCKET", value_name = "PATH")]
    socket: Option<OsString>,
    /// Read the input of an agent's hook instead; print nothing and always succeed. EVENT where the input does not name it
    #[arg(
        long,
        value_name = "EVENT",
        conflicts_with = "pairs",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    hook: Option<String>,
}

/// Succeed when the sidecar answers. An unreachable store is only printed: no reason to end an agent.
#[derive(Debug, clap::Args)]
pub(crate) struct HealthcheckArgs {
    /// The sidecar's socket [default: the only one of this user that answers]
    #[arg(long, env = "HB_SOCKET", value_name = "PATH")]
    socket: Option<OsString>,
    /// Succeed only when beats reach the store
    #[arg(long)]
    beats: bool,
}

/// Why a line was not sent, or a health check failed.
#[derive(Debug, thiserror::Error)]
enum NotifyError {
    #[error("expected KEY=VALUE, got {0:?}")]
    NotAPair(String),
    #[error("{0}")]
    Line(#[from] heartbeat::contract::line::LineError),
    #[error(
        "no HB_SOCKET here: run this from an agent under hbsidecar, or name the socket with --socket"
    )]
    NoSocket,
    #[error("{} sockets answer: {}; choose one with --socket", .0.len(), listed(.0))]
    WhichSocket(Vec<PathBuf>),
    #[error("no sidecar answers in {0:?}; if its socket is elsewhere, name it with --socket")]
    NoneAnswers(PathBuf),
    #[error("no sidecar can be found: {0}; name its socket with --socket")]
    NoDirectory(hbshell::private_dir::PrivateDirError),
    #[error("no sidecar answers at {0:?}: {1}")]
    NoAnswer(PathBuf, io::Error),
    #[error("{0}")]
    Refused(String),
}

/// `hbsidecar notify`. Returns the exit code: 0 accepted, 1 refused or no sidecar, 2 usage.
pub(crate) fn notify(args: &NotifyArgs) -> u8 {
    if let Some(event) = &args.hook {
        // No failure may disturb the agent: it would read an exit code as an order.
        let event = Some(event.as_str()).filter(|event| !event.is_empty());
        let _ = hook(event, named(&args.socket), Instant::now() + HOOK_WITHIN);
        return 0;
    }
    let sent = lines(&args.pairs).and_then(|lines| {
        send_lines(
            named(&args.socket).ok_or(NotifyError::NoSocket)?,
            &lines,
            Instant::now() + ANSWER_WITHIN,
        )
    });
    match sent {
        Ok(()) => 0,
        Err(error @ (NotifyError::NotAPair(_) | NotifyError::Line(_))) => fail(&error, exit::USAGE),
        Err(
            error @ (NotifyError::NoSocket
            | NotifyError::WhichSocket(_)
            | NotifyError::NoneAnswers(_)
            | NotifyError::NoDirectory(_)
            | NotifyError::NoAnswer(..)
            | NotifyError::Refused(_)),
        ) => fail(&error, 1),
    }
}

/// `hbsidecar healthcheck`. Returns the exit code: 0 when the sidecar answers and, with `--beats`, beats reach the store.
pub(crate) fn healthcheck(args: &HealthcheckArgs) -> u8 {
    let deadline = Instant::now() + ANSWER_WITHIN;
    let answer = match named(&args.socket) {
        Some(socket) => request(socket, QUESTION, deadline),
        None => PrivateDir::of_user()
            .map_err(NotifyError::NoDirectory)
            .and_then(|(directory, _)| request_the_only_one(&directory, deadline)),
    };
    match answer.and_then(|answer| beats_problem(&answer)) {
        Ok(None) => 0,
        Ok(Some(why)) if args.beats => fail(&NotifyError::Refused(why), 1),
        Ok(Some(why)) => {
            // Standard output may be closed: the exit code is the answer.
            let _ = writeln!(io::stdout(), "the sidecar answers; {why}");
            0
        }
        Err(error) => fail(&error, 1),
    }
}

/// Why beats do not reach the store, if they do not.
fn beats_problem(answer: &str) -> Result<Option<String>, NotifyError> {
    match answer.strip_prefix("ok") {
        Some("") => Ok(None),
        Some(rest) => match rest.strip_prefix(": ") {
            Some(why) => Ok(Some(why.to_owned())),
            None => Err(refused(answer)),
        },
        None => Err(refused(answer)),
    }
}

fn listed(sockets: &[PathBuf]) -> String {
    let shown: Vec<String> = sockets
        .iter()
        .map(|socket| socket.display().to_string())
        .collect();
    shown.join(", ")
}

/// Set and empty is as not set; a parser that refuses it would end a hook with an exit code that agents obey.
fn named(socket: &Option<OsString>) -> Option<&Path> {
    let given = socket.as_ref().filter(|path| !path.is_empty());
    given.map(Path::new)
}

fn fail(error: &NotifyError, code: u8) -> u8 {
    complain("hbsidecar", &error.to_string());
    code
}

fn refused(answer: &str) -> NotifyError {
    let why = answer.strip_prefix("error: ").unwrap_or(answer);
    NotifyError::Refused(if why.is_empty() {
        "the sidecar gave no answer".to_owned()
    } else {
        why.to_owned()
    })
}

/// The arguments as lines: words of sd_notify stand alone, all others share one.
fn lines(pairs: &[String]) -> Result<String, NotifyError> {
    let (mut ours, mut theirs) = (Vec::new(), String::new());
    for given in pairs {
        let (key, value) = given
            .split_once('=')
            .ok_or_else(|| NotifyError::NotAPair(given.clone()))?;
        if key.starts_with(|c: char| c.is_ascii_uppercase()) {
            theirs += &format!("{key}={}\n", value.replace(['\n', '\r'], " "));
        } else {
            ours.push(pair(key, value));
        }
    }
    let ours = ours.join(" ");
    for line in theirs.lines().chain([ours.as_str()]) {
        Line::parse(line.as_bytes())?;
    }
    Ok(if ours.is_empty() {
        theirs
    } else {
        format!("{theirs}{ours}\n")
    })
}

fn send_lines(socket: &Path, lines: &str, deadline: Instant) -> Result<(), NotifyError> {
    match request(socket, lines.as_bytes(), deadline)? {
        answer if answer.is_empty() => Ok(()),
        answer => Err(refused(&answer)),
    }
}

/// Sends, and reads the answer until the sidecar closes.
fn request(socket: &Path, text: &[u8], deadline: Instant) -> Result<String, NotifyError> {
    let answer = send(socket, text, deadline).and_then(|stream| answer(stream, deadline));
    answer.map_err(|error| NotifyError::NoAnswer(socket.to_owned(), error))
}

fn send(socket: &Path, text: &[u8], deadline: Instant) -> io::Result<UnixStream> {
    let mut stream = reach(socket)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(text)?;
    stream.shutdown(Shutdown::Write)?;
    Ok(stream)
}

fn answer(mut stream: UnixStream, deadline: Instant) -> io::Result<String> {
    let (mut answer, mut chunk) = (Vec::new(), [0; 1024]);
    while answer.len() < 4096 {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk)? {
            0 => break,
            read => answer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
        }
    }
    Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
}

/// Never waits: where connections queue up, no sidecar answers.
fn reach(socket: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&fd, &SocketAddrUnix::new(socket)?)?;
    let stream = UnixStream::from(fd);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(io::ErrorKind::TimedOut.into())
    } else {
        Ok(left)
    }
}

/// A health check is often started beside the agent, without its environment. A sidecar that was killed has left its
/// socket behind: only those count that answer.
fn request_the_only_one(directory: &PrivateDir, deadline: Instant) -> Result<String, NotifyError> {
    // Through the descriptor: the directory is the one that was checked, and its path is short.
    let entries = std::fs::read_dir(directory.held_path());
    let paths = entries.into_iter().flatten().flatten().map(|e| e.path());
    let mut sockets: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|name| name == "sock"))
        .collect();
    sockets.sort();
    // All get the request before the first answer is awaited: one that hangs does not use up the time of the others.
    let requests: Vec<(PathBuf, UnixStream)> = sockets
        .into_iter()
        .filter_map(|socket| {
            let stream = send(&socket, QUESTION, deadline).ok()?;
            Some((socket, stream))
        })
        .collect();
    let answers: Vec<(PathBuf, String)> = requests
        .into_iter()
        .filter_map(|(socket, stream)| {
            let until = deadline.max(Instant::now() + ANSWER_IS_THERE);
            let answer = answer(stream, until).ok()?;
            (!answer.is_empty()).then_some((socket, answer))
        })
        .collect();
    match <[_; 1]>::try_from(answers) {
        Ok([(_, answer)]) => Ok(answer),
        Err(none) if none.is_empty() => Err(NotifyError::NoneAnswers(directory.path().to_owned())),
        Err(several) => {
            let named = |socket: PathBuf| {
                directory
                    .path()
                    .join(socket.file_name().unwrap_or_default())
            };
            let sockets = several.into_iter().map(|(socket, _)| named(socket));
            Err(NotifyError::WhichSocket(sockets.collect()))
        }
    }
}

/// Reports the hook's input as one line. `None` when there is nothing to report, or no sidecar.
fn hook(event: Option<&str>, socket: Option<&Path>, deadline: Instant) -> Option<()> {
    let socket = socket?;
    let input = input(deadline)?;
    let tokens = tokens_of_turn(&input).unwrap_or(0);
    let line = agent_streams::hook(event, &input, tokens)?;
    send_lines(socket, &format!("{line}\n"), deadline).ok()
}

/// Standard input to its end, if that comes in time.
fn input(deadline: Instant) -> Option<Vec<u8>> {
    let stdin = io::stdin();
    let (mut input, mut chunk) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let left = Timespec::try_from(left(deadline).ok()?).ok()?;
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        if poll(&mut fds, Some(&left)).ok()? == 0 {
            return None;
        }
        match rustix::io::read(&stdin, &mut chunk).ok()? {
            0 => return Some(input),
            read => input.extend_from_slice(chunk.get(..read)?),
        }
        if input.len() as u64 > INPUT_BYTES_MAX {
            return None;
        }
    }
}

/// At the end of a turn the transcript knows what it cost.
fn tokens_of_turn(input: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Ends {
        hook_event_name: String,
        transcript_path: PathBuf,
    }
    let ends: Ends = serde_json::from_slice(input).ok()?;
    if !matches!(ends.hook_event_name.as_str(), "Stop" | "StopFailure") {
        return None;
    }
    if !std::fs::metadata(&ends.transcript_path).ok()?.is_file() {
        return None;
    }
    let mut transcript = File::open(&ends.transcript_path).ok()?;
    let length = transcript.seek(SeekFrom::End(0)).ok()?;
    transcript
        .seek(SeekFrom::Start(length.saturating_sub(INPUT_BYTES_MAX)))
        .ok()?;
    let mut end = Vec::new();
    transcript
        .take(INPUT_BYTES_MAX)
        .read_to_end(&mut end)
        .ok()?;
    Some(agent_streams::turn_tokens(&String::from_utf8_lossy(&end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing that is done at once takes so long on a busy machine.
    const AT_ONCE: Duration = Duration::from_secs(60);

    fn given(pairs: &[&str]) -> Result<String, String> {
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        lines(&pairs).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_become_one_line_that_is_read_back() {
        assert_eq!(
            given(&["progress=42", "task=index repo"]).unwrap(),
            "progress=42 task=\"index repo\"\n"
        );
        assert_eq!(given(&["task="]).unwrap(), "task=\n");
        assert_eq!(
            given(&["READY=1", "state=idle", "STATUS=a b"]).unwrap(),
            "READY=1\nSTATUS=a b\nstate=idle\n"
        );
    }

    #[test]
    fn what_the_sidecar_would_refuse_is_refused_here() {
        assert!(given(&["progress"]).unwrap_err().contains("KEY=VALUE"));
        assert!(given(&["progress=150"]).unwrap_err().contains("0 to 100"));
        assert!(given(&["task=a", "task=b"]).unwrap_err().contains("twice"));
    }

    #[test]
    fn nobody_there_is_known_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let start = Instant::now();
        for socket in [
            path.as_path(),
            Path::new("/no/such/socket"),
            Path::new(&"/x".repeat(100)),
        ] {
            assert!(matches!(
                send_lines(socket, "watchdog=1\n", start + 10 * AT_ONCE),
                Err(NotifyError::NoAnswer(..))
            ));
        }
        assert!(start.elapsed() < AT_ONCE);
    }

    #[test]
    fn a_sidecar_that_does_not_answer_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let _deaf = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let start = Instant::now();
        let sent = send_lines(&path, "watchdog=1\n", start + Duration::from_millis(200));
        assert!(matches!(sent, Err(NotifyError::NoAnswer(..))), "{sent:?}");
        assert!(start.elapsed() < AT_ONCE);
    }

    /// A sidecar that answers so, once.
    fn sidecar(path: &Path, answer: &'static str) {
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_to_end(&mut Vec::new()).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
    }

    #[test]
    fn a_health_check_asks_the_only_one_that_answers() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let place = PrivateDir::open(directory.path()).unwrap();
        // One that does not answer costs all the time that there is.
        let asked_for = |time| request_the_only_one(&place, Instant::now() + time);
        let none = || asked_for(Duration::from_millis(300));
        let asked = || asked_for(Duration::from_secs(2));
        assert!(matches!(none(), Err(NotifyError::NoneAnswers(_))));
        drop(std::os::unix::net::UnixListener::bind(path("killed.sock")).unwrap());
        let _stopped = std::os::unix::net::UnixListener::bind(path("a-stopped.sock")).unwrap();
        assert!(matches!(none(), Err(NotifyError::NoneAnswers(_))));
        sidecar(&path("b.sock"), "ok\n");
        assert_eq!(asked().unwrap(), "ok");
        sidecar(&path("c.sock"), "ok: no beat was sent yet\n");
        sidecar(&path("d.sock"), "ok\n");
        let error = asked().unwrap_err().to_string();
        assert!(error.starts_with("2 sockets answer: "), "{error}");
        assert!(
            error.contains("/c.sock, ") && error.contains("/d.sock; "),
            "{error}"
        );
    }

    #[test]
    fn what_keeps_beats_back_is_no_refusal() {
        assert_eq!(beats_problem("ok").unwrap(), None);
        assert_eq!(beats_problem("ok: why").unwrap().as_deref(), Some("why"));
        for answer in ["error: of another user", "okay", ""] {
            assert!(beats_problem(answer).is_err(), "{answer}");
        }
    }

    #[test]
    fn the_end_of_a_turn_costs_what_its_transcript_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.jsonl");
        let lines = [
            r#"{"type":"user","message":{"content":"go"}}"#,
            r#"{"type":"assistant","message":{"id":"m","content":[],"usage":{"input_tokens":5,"output_tokens":6}}}"#,
        ];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let tokens_at = |event: &str| {
            tokens_of_turn(
                format!(r#"{{"hook_event_name":"{event}","transcript_path":{path:?}}}"#).as_bytes(),
            )
        };
        assert_eq!(
            (tokens_at("Stop"), tokens_at("PreToolUse")),
            (Some(11), None)
        );
    }
}
