//! Two network namespaces and a wire between them: agent on one side, peer on the other, nothing else reachable.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

const CLIENT: &str = "10.77.0.1";
/// Where the peer is, in each pair: no two pairs see each other.
pub(crate) const SERVER: &str = "10.77.0.2";

/// Named `hbzoo` + pid + number, so that what a killed run left behind is recognised.
pub(crate) struct Pair {
    client: String,
    server: String,
}

impl Pair {
    pub(crate) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("hbzoo{}-{n}", std::process::id());
        let pair = Self {
            client: format!("{name}a"),
            server: format!("{name}b"),
        };
        let (a, b) = (&pair.client, &pair.server);
        ip(&format!("netns add {a}"));
        ip(&format!("netns add {b}"));
        ip(&format!(
            "link add wire netns {a} type veth peer name wire netns {b}"
        ));
        for (space, address) in [(a, CLIENT), (b, SERVER)] {
            ip(&format!("-n {space} addr add {address}/30 dev wire"));
            ip(&format!("-n {space} link set wire up"));
            ip(&format!("-n {space} link set lo up"));
        }
        ip(&format!("-n {a} route add default via {SERVER}"));
        // What is not for the peer ends there without a word.
        let quiet = format!("--net=/run/netns/{b}");
        run(
            "nsenter",
            &[&quiet, "sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"],
        );
        pair
    }

    pub(crate) fn client(&self) -> &str {
        &self.client
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// From now on no packet comes back, and no side gets a notice: no FIN, no RST, no ICMP.
    pub(crate) fn cut(&self) {
        ip(&format!(
            "-n {} route add blackhole {CLIENT}/32",
            self.server
        ));
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for space in [&self.client, &self.server] {
            let _ = Command::new("ip").args(["netns", "del", space]).status();
        }
    }
}

/// Removes namespaces whose maker is gone.
pub(crate) fn sweep() {
    let listed = Command::new("ip").args(["netns", "list"]).output().unwrap();
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let maker = name
            .strip_prefix("hbzoo")
            .and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|pid| !std::path::Path::new("/proc").join(pid).exists()) {
            let _ = Command::new("ip").args(["netns", "del", name]).status();
        }
    }
}

fn ip(words: &str) {
    run("ip", &words.split(' ').collect::<Vec<_>>());
}

fn run(program: &str, args: &[&str]) {
    let done = Command::new(program).args(args).output().unwrap();
    let why = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success(),
        "{program} {args:?}: {why}; the network rows need root and iproute2"
    );
}
