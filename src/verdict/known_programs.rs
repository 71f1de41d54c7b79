//! Programs that hb knows by name: one table of everything a rule takes for granted about a product.

/// Shells: one that collects the output of a child can do nothing else.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ash", "ksh", "fish"];

/// Ports whose clients wait idle until something happens (ssh, mail, chat, directories, queues, databases, brokers, screens,
/// players, telephone exchanges): no answer is due there. As their makers and `/etc/services` have them; none of a server of
/// models.
pub(super) const RESTING_PORTS: [u16; 53] = [
    22, 23, 110, 143, 389, 636, 993, 995, 1433, 1521, 1883, 2181, 2947, 3306, 4222, 4730, 5038,
    5222, 5223, 5432, 5552, 5671, 5672, 5900, 6000, 6010, 6379, 6380, 6432, 6600, 6650, 6667, 6697,
    7419, 7687, 7711, 8021, 8883, 9042, 9092, 9093, 9094, 11211, 11300, 26257, 26379, 27017, 27018,
    27019, 28015, 33060, 61613, 61616,
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

/// Whether a program of this name or path is a shell.
pub fn is_shell(program: &str) -> bool {
    SHELLS.contains(&program.rsplit('/').next().unwrap_or_default())
}

/// Signals that this program's runtime handles for itself.
pub(super) fn runtime_signals(name: &str) -> &'static [u32] {
    let row = RUNTIME_SIGNALS.iter().find(|(program, _)| *program == name);
    row.map_or(&[], |(_, signals)| signals)
}
