//! `HB_SOCKET`: lines come, `error: why` goes back. A sender that does not read its answers loses them and nothing else.

use super::Health;
use super::intake::{Intake, Taken};
use super::sender::{IsOfTree, Sender};
use crate::clock;
use heartbeat::base::moment::Moment;
use heartbeat::contract::framing::LineSplitter;
use heartbeat::contract::line::{LINE_BYTES_MAX, LineError};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// More are not kept: descriptors are few, and an agent needs one.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// Read at once.
const CHUNK: usize = 16 * 1024;
/// No descriptor is left to accept with: wait until some is.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// The question of a health check.
const QUESTION: &[u8] = b"hb?";

/// Accepts until it is aborted.
pub(super) fn listen(
    socket: OwnedFd,
    intake: &Arc<Intake>,
    is_of_tree: &IsOfTree,
    health: watch::Receiver<Health>,
) -> io::Result<AbortHandle> {
    let listener = UnixListener::from_std(socket.into())?;
    let room = Arc::new(Room {
        intake: Arc::clone(intake),
        is_of_tree: Arc::clone(is_of_tree),
        health,
        connections: Mutex::default(),
    });
    let task = async move {
        let _closes = Closes(Arc::clone(&room));
        loop {
            match listener.accept().await {
                Ok((stream, _)) => Room::admit(&room, stream),
                Err(error) => {
                    room.intake.warn_once("accept", || {
                        format!("cannot accept a connection of the agent: {error}")
                    });
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            // A storm of connections is taken in turns with everything else.
            tokio::task::yield_now().await;
        }
    };
    Ok(tokio::spawn(task).abort_handle())
}

struct Room {
    intake: Arc<Intake>,
    is_of_tree: IsOfTree,
    health: watch::Receiver<Health>,
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    open: BTreeMap<u64, Open>,
}

struct Open {
    last_read: Moment,
    stream: Arc<UnixStream>,
    task: AbortHandle,
}

/// Ends all connections with the room.
struct Closes(Arc<Room>);

impl Drop for Closes {
    fn drop(&mut self) {
        for open in std::mem::take(&mut self.0.connections().open).into_values() {
            open.task.abort();
        }
    }
}

impl Room {
    fn admit(room: &Arc<Self>, stream: UnixStream) {
        let sender = match stream.peer_cred() {
            Ok(of) => Sender {
                pid: of.pid(),
                uid: of.uid(),
            },
            Err(_) => return, // it has ended already
        };
        if let Some(why) = sender.refusal_of_user(&room.is_of_tree) {
            answer(&stream, &format!("error: {why}"));
            room.intake.foreign_sender(&why);
            return;
        }
        let stream = Arc::new(stream);
        let mut connections = room.connections();
        connections.next += 1;
        let number = connections.next;
        let connection = Connection {
            number,
            sender,
            stream: Arc::clone(&stream),
            lines: LineSplitter::new(LINE_BYTES_MAX),
            refusal: None,
            excess_answered: false,
            ends_when_told: waits_for_our_end(sender.pid),
        };
        let task = tokio::spawn(connection.serve(Arc::clone(room))).abort_handle();
        let last_read = clock::now();
        connections.open.insert(
            number,
            Open {
                last_read,
                stream,
                task,
            },
        );
        if connections.open.len() > CONNECTIONS_MAX {
            connections.crowd_out();
            drop(connections);
            room.intake.crowded_out(CONNECTIONS_MAX);
        }
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        // A table of what is open: nothing in it can be half done.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// That we answer is health already; what keeps beats back is reported beside it.
    fn health(&self) -> String {
        match &*self.health.borrow() {
            Health::Beating => "ok".to_owned(),
            Health::NotBeating(why) => format!("ok: {why}"),
        }
    }
}

impl Connections {
    /// A new sender always gets in: the longest idle one goes.
    fn crowd_out(&mut self) {
        let idle = self
            .open
            .iter()
            .min_by_key(|(number, open)| (open.last_read, **number));
        if let Some(open) = idle
            .map(|(number, _)| *number)
            .and_then(|number| self.open.remove(&number))
        {
            answer(
                &open.stream,
                "error: too many connections, the longest idle one is closed",
            );
            open.task.abort();
        }
    }
}

struct Connection {
    number: u64,
    sender: Sender,
    stream: Arc<UnixStream>,
    lines: LineSplitter,
    /// Once it is known: whether this process may report for the agent.
    refusal: Option<Option<String>>,
    excess_answered: bool,
    ends_when_told: bool,
}

impl Connection {
    async fn serve(mut self, room: Arc<Room>) {
        while self.stream.readable().await.is_ok() && self.read(&room) {
            tokio::task::yield_now().await;
        }
        if !self.lines.pending().is_empty() {
            let taken = room.intake.refuse(LineError::Unended);
            self.answer_to(taken);
        }
        room.connections().open.remove(&self.number);
    }

    /// Whether more may come.
    fn read(&mut self, room: &Room) -> bool {
        let mut chunk = [0; CHUNK];
        let bytes = match self.stream.try_read(&mut chunk) {
            Ok(0) => return false,
            Ok(read) => chunk.get(..read).unwrap_or_default(),
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        };
        if let Some(open) = room.connections().open.get_mut(&self.number) {
            open.last_read = clock::now();
        }
        let mut lines = std::mem::replace(&mut self.lines, LineSplitter::new(LINE_BYTES_MAX));
        lines.feed(bytes, |line| self.line(line, room));
        self.lines = lines;
        if self.ends_when_told && self.lines.pending().is_empty() {
            self.ends_when_told = false;
            // It reads the end of our side; its own side stays open.
            let _ = rustix::net::shutdown(&*self.stream, rustix::net::Shutdown::Write);
        }
        true
    }

    fn line(&mut self, line: Result<&[u8], LineError>, room: &Room) {
        if line
            .as_ref()
            .is_ok_and(|line| line.trim_ascii() == QUESTION)
        {
            return answer(&self.stream, &room.health());
        }
        let refusal = self.refusal.get_or_insert_with(|| {
            let refusal = self.sender.refusal(&room.is_of_tree);
            if let Some(why) = &refusal {
                answer(&self.stream, &format!("error: {why}"));
            }
            refusal
        });
        if let Some(why) = refusal {
            return room.intake.foreign_sender(why);
        }
        let taken = match line {
            Ok(line) => room.intake.take(line, None),
            Err(error) => room.intake.refuse(error),
        };
        self.answer_to(taken);
    }

    fn answer_to(&mut self, taken: Taken) {
        match taken {
            Taken::Good => self.excess_answered = false,
            Taken::Refused(error) => answer(&self.stream, &format!("error: {error}")),
            Taken::Excess if self.excess_answered => {}
            Taken::Excess => {
                self.excess_answered = true;
                let limit = super::intake::LINES_PER_SECOND;
                answer(
                    &self.stream,
                    &format!("error: more than {limit} lines a second, the others are dropped"),
                );
            }
        }
    }
}

/// Answers if there is room for it: a sender that does not read is not waited for.
fn answer(stream: &UnixStream, text: &str) {
    let _ = stream.try_write(format!("{text}\n").as_bytes());
}

/// OpenBSD's `nc -U` stays after the end of its input until the other side ends: `echo … | nc -U` would hang.
/// It continues to send after our end, so ending is harmless; node and others would stop, so it is for nc alone.
fn waits_for_our_end(pid: Option<i32>) -> bool {
    let Some(pid) = pid.filter(|pid| *pid > 0) else {
        return false;
    };
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    matches!(name.trim_end(), "nc" | "nc.openbsd")
}
