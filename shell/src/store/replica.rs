//! A server that takes no writes since it follows another one, or since its cluster is not whole: the master is to be found again.

use heartbeat::base::moment::Moment;
use redis::{ErrorKind, RedisError, ServerErrorKind};
use std::time::Duration;

/// How soon the master is looked for again where it was not found, and how often that time is doubled: up to ten minutes, since
/// each look costs a connection.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
const DOUBLINGS: u32 = 6;

/// Whether the connected server writes, and when it is left if it does not.
#[derive(Debug, Default)]
pub struct ReplicaWatch {
    refused: bool,
    /// Connections in a row to a server that took no writes.
    replicas: u32,
    look_again: Moment,
}

impl ReplicaWatch {
    /// A new connection, perhaps to the master.
    pub fn connected(&mut self, now: Moment) {
        self.refused = false;
        self.look_again = match self.replicas {
            0 => now,
            replicas => now + LOOK_AGAIN * (1 << (replicas - 1).min(DOUBLINGS)),
        };
    }

    /// The server took a write.
    pub fn wrote(&mut self) {
        (self.refused, self.replicas) = (false, 0);
    }

    /// The server refused a write, for this reason or another one.
    pub fn refused(&mut self, error: &RedisError) {
        self.refused |= error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
    }

    /// The server refused this because it is cut off from its cluster, or the cluster has lost a part.
    pub fn cut_off(&mut self, error: &RedisError) {
        self.refused |= error.kind() == ErrorKind::Server(ServerErrorKind::ClusterDown);
    }

    /// Whether to leave the server now: a new connection may lead to the master.
    pub fn leaves(&mut self, now: Moment) -> bool {
        let leaves = self.refused && self.look_again <= now;
        self.replicas += u32::from(leaves);
        leaves
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(1_000_000 + seconds * 1000)
    }

    fn read_only() -> RedisError {
        let text = "-READONLY You can't write against a read only replica.\r\n";
        let value = redis::parse_redis_value(text.as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn a_master_that_becomes_a_replica_is_left_at_once() {
        let mut watch = ReplicaWatch::default();
        watch.connected(at(0));
        watch.wrote();
        assert!(!watch.leaves(at(60)));
        watch.refused(&read_only());
        assert!(watch.leaves(at(60)));
    }

    #[test]
    fn a_server_that_stays_a_replica_is_left_less_and_less_often() {
        let mut watch = ReplicaWatch::default();
        let mut left = Vec::new();
        watch.connected(at(0));
        for second in 0..200 {
            watch.refused(&read_only());
            if watch.leaves(at(second)) {
                left.push(second);
                watch.connected(at(second));
            }
        }
        assert_eq!(left, [0, 10, 30, 70, 150]);
    }

    #[test]
    fn another_refusal_is_no_reason_to_leave() {
        let mut watch = ReplicaWatch::default();
        watch.connected(at(0));
        let full = redis::parse_redis_value(b"-OOM command not allowed\r\n").unwrap();
        watch.refused(&full.extract_error().unwrap_err());
        assert!(!watch.leaves(at(600)));
    }
}
