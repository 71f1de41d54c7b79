//! Programs that hb knows by name: one table of everything a rule takes for granted about a product.

/// Shells: one that collects the output of a child can do nothing else.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ash", "ksh", "fish"];

/// Programs that start a command for each item of a list, or each second: the same one again is what they were asked for.
const RUNNERS: [&str; 8] = [
    "find", "xargs", "parallel", "make", "ninja", "watch", "entr", "git",
];

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

/// Whether a program of this name starts the commands that it was given.
pub(super) fn runs_commands(program: &str) -> bool {
    is_shell(program) || RUNNERS.contains(&program)
}

/// Whether a command does nothing but wait: `sleep 1`, itself or through a shell.
pub(super) fn only_pauses(command: &str) -> bool {
    let mut words = command.split(' ').peekable();
    if words.next_if(|word| is_shell(word)).is_some() {
        words.next_if_eq(&"-c");
    }
    let sleeps = words
        .next()
        .is_some_and(|word| word.rsplit('/').next() == Some("sleep"));
    sleeps && words.all(|word| word.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
}

/// Signals that this program's runtime handles for itself.
pub(super) fn runtime_signals(name: &str) -> &'static [u32] {
    let row = RUNTIME_SIGNALS.iter().find(|(program, _)| *program == name);
    row.map_or(&[], |(_, signals)| signals)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_known_by_its_name_and_by_its_path() {
        let asked = ["bash", "/bin/sh", "node", "/usr/bin/bash-helper", ""];
        assert_eq!(asked.map(is_shell), [true, true, false, false, false]);
    }

    #[test]
    fn a_pause_is_a_sleep_and_nothing_else() {
        for pause in [
            "sleep 1",
            "/bin/sleep 0.5",
            "sh -c sleep 0.5",
            "bash -c /bin/sleep 2",
        ] {
            assert!(only_pauses(pause), "{pause}");
        }
        for tool in [
            "sh -c sleep 1; make",
            "ls 1",
            "sh -c ls",
            "sleep 1 && make",
            "bash 1",
        ] {
            assert!(!only_pauses(tool), "{tool}");
        }
    }

    #[test]
    fn a_shell_or_a_runner_starts_the_commands_that_it_was_given() {
        let asked = ["dash", "xargs", "python3"];
        assert_eq!(asked.map(runs_commands), [true, true, false]);
    }
}
