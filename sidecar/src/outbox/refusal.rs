//! What the store answers instead of carrying out: whether it may do so later, and what a person can do about it.

use redis::RedisError;

/// How a living store says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It cannot write at this time: a replica, full, its disk is broken, its cluster is not whole.
    ForNow,
    /// It will not write this: not allowed, another kind of key.
    ForGood,
}

/// `None` for an error of the connection, and for a store that is not ready for anything: those end the session.
pub(super) fn refusal(error: &RedisError) -> Option<Refusal> {
    match error.code()? {
        "READONLY" | "OOM" | "MISCONF" | "NOREPLICAS" | "BUSY" | "TRYAGAIN" | "CLUSTERDOWN" => {
            Some(Refusal::ForNow)
        }
        "NOPERM" | "WRONGTYPE" | "ERR" => Some(Refusal::ForGood),
        _ => None,
    }
}

/// What to do about a store that refuses writes.
pub(super) fn remedy_of_refusal(error: &RedisError) -> &'static str {
    match error.code().unwrap_or_default() {
        "READONLY" => "it is a replica: name its master with --redis-url, or promote it",
        "OOM" => "it is full: raise its maxmemory or make room",
        "MISCONF" => "it cannot save its data: look at its disk and its log",
        "NOREPLICAS" => "its replicas are away: bring them back or lower min-replicas-to-write",
        "BUSY" | "TRYAGAIN" => "it is busy: nothing needs to be done if this ends by itself",
        "CLUSTERDOWN" => "look at CLUSTER INFO: each slot needs a node that serves it",
        "NOPERM" => "allow its user the commands and keys that docs/wire.md names (ACL SETUSER)",
        "WRONGTYPE" => "another program uses a key of hb: rename or delete that key",
        _ => "look at its log",
    }
}
