//! Who gets a place when all are taken: the fleet's own programs keep theirs, idle strangers give theirs up. And who leaves when
//! commands that were not carried out take too much memory.

use super::Server;
use super::client::{self, Client, FromClient};
use super::waiting::Waiting;
use bytes::Bytes;
use std::sync::atomic::Ordering;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// What a client has shown of itself, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It has sent no command.
    Silent,
    /// It has sent commands.
    Visitor,
    /// It has run one of hb's scripts, or subscribed, or follows a stream: a sidecar or a monitor.
    Member,
}

impl Standing {
    /// What a command shows of its client.
    pub(super) fn shown_by(name: &[u8]) -> Self {
        match name {
            b"EVALSHA" | b"EVAL" | b"SUBSCRIBE" | b"PSUBSCRIBE" | b"XREAD" => Self::Member,
            _ => Self::Visitor,
        }
    }
}

impl Server {
    /// Serves a new client. When all places are taken the client that has been idle longest gives its place up, of those
    /// that have sent nothing first; members of the fleet never do.
    pub(super) fn admit(
        &mut self,
        id: u64,
        stream: TcpStream,
        commands: &mpsc::Sender<(u64, FromClient)>,
    ) {
        if self.clients.len() >= self.limits.clients {
            let idlest = self
                .clients
                .iter()
                .filter(|(_, client)| client.standing < Standing::Member)
                .min_by_key(|(_, client)| (client.standing, client.last))
                .map(|(id, _)| *id);
            match idlest.and_then(|id| self.remove(id)) {
                Some(mut client) => client.drop_connection(),
                None => return client::turn_away(&stream),
            }
        }
        let shares = (Waiting::new(&self.waiting), Waiting::new(&self.inputs));
        let client = Client::serve(id, stream, &self.limits, shares, commands.clone());
        self.clients.insert(id, client);
    }

    /// What clients have sent and was not carried out takes too much memory: the one with the most is cut off.
    pub(super) fn make_room_for_input(&mut self) {
        let most = self.limits.inputs_bytes;
        if self.inputs.load(Ordering::Relaxed) <= most {
            return; // another one has left since
        }
        let largest = self.clients.iter().max_by_key(|(_, client)| client.input());
        if let Some(mut client) = largest.map(|(id, _)| *id).and_then(|id| self.remove(id)) {
            client.refuse(format!(
                "ERR the commands of all clients that are not whole, or wait, take more than {most} bytes, and this client has sent the most of them; connect and send again, less at once"
            ));
        }
    }

    /// A client whose command was carried out has shown what it is.
    pub(super) fn credit(&mut self, id: u64, command: &[Bytes], failed: bool) {
        if let Some(client) = self.clients.get_mut(&id).filter(|_| !failed) {
            let name = command[0].to_ascii_uppercase();
            client.standing = client.standing.max(Standing::shown_by(&name));
        }
    }
}
