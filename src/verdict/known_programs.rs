//! Programs that hb knows by name: one table of everything a rule takes for granted about a product.

/// Shells: one that collects the output of a child can do nothing else.
pub(super) const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ash", "ksh", "fish"];

/// Ports whose clients wait idle until something happens (ssh, mail, queues, databases): no answer is due there.
pub(super) const RESTING_PORTS: [u16; 24] = [
    22, 23, 110, 143, 993, 995, 1883, 2181, 3306, 4222, 5222, 5432, 5671, 5672, 6379, 6380, 6667,
    6697, 8883, 9092, 11211, 26379, 27017, 61613,
];

/// Programs whose clients wait idle in a read: queues, databases, remote shells.
pub(super) const RESTING_PEERS: [&str; 16] = [
    "redis-server",
    "valkey-server",
    "keydb-server",
    "dragonfly",
    "hbmonitor",
    "nats-server",
    "mosquitto",
    "beam.smp",
    "postgres",
    "mysqld",
    "mariadbd",
    "mongod",
    "memcached",
    "etcd",
    "sshd",
    "dockerd",
];

/// Signals that a runtime handles in every program, for itself. Go and Java handle nearly all, also for
/// the program, so they have no row.
const RUNTIME_SIGNALS: [(&str, &[u32]); 1] = [
    // SIGUSR1 starts the inspector: https://nodejs.org/api/process.html#signal-events
    ("node", &[10]),
];

/// Signals that this program's runtime handles for itself.
pub(super) fn runtime_signals(name: &str) -> &'static [u32] {
    let row = RUNTIME_SIGNALS.iter().find(|(program, _)| *program == name);
    row.map_or(&[], |(_, signals)| signals)
}
