//! A Redis Cluster of the test's own: three masters, with a replica each where a story needs them.

use super::{Redis, eventually, unused_port};

/// The servers, the masters first. All end with the test.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Redis>,
}

impl Cluster {
    /// Three masters.
    pub(crate) fn start() -> Self {
        Self::form(3, &[])
    }

    /// And a replica for each, which takes its place when it is away for a second.
    pub(crate) fn start_with_replicas() -> Self {
        Self::form(6, &[])
    }

    fn form(count: u16, arguments: &[&str]) -> Self {
        let buses: Vec<String> = (0..count).map(|_| unused_port().to_string()).collect();
        let nodes = buses.iter().map(|bus| node(bus, arguments));
        let cluster = Self {
            nodes: nodes.collect(),
        };
        for (n, slots) in ["0-5460", "5461-10922", "10923-16383"].iter().enumerate() {
            let (first, last) = slots.split_once('-').unwrap();
            let () = cluster.nodes[n].run(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        }
        for (n, node) in cluster.nodes.iter().enumerate() {
            let () = node.run(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]);
            if n > 0 {
                let (port, bus) = (node.port.to_string(), &buses[n]);
                let () = cluster.nodes[0].run(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]);
            }
        }
        cluster.wait_for_all(&format!("cluster_known_nodes:{count}"));
        for (master, replica) in cluster.nodes.iter().zip(&cluster.nodes[3..]) {
            let () = replica.run(&["CLUSTER", "REPLICATE", &master.id()]);
            eventually("the replica has its master's data", || {
                let info: String = replica.run(&["INFO", "replication"]);
                info.contains("master_link_status:up").then_some(())
            });
        }
        cluster.wait_for_all("cluster_state:ok");
        for node in &cluster.nodes {
            eventually("each node knows each replica", || {
                let slots: Vec<Vec<redis::Value>> = node.run(&["CLUSTER", "SLOTS"]);
                let nodes: usize = slots.iter().map(|range| range.len() - 2).sum();
                (nodes == usize::from(count)).then_some(())
            });
        }
        cluster
    }

    /// The masters of the beginning, and one that is not there in front.
    pub(crate) fn url(&self, user: &str) -> String {
        let ports = std::iter::once(unused_port());
        let ports = ports.chain(self.nodes.iter().take(3).map(|node| node.port));
        let nodes: Vec<String> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis-cluster://{user}{}", nodes.join(","))
    }

    /// Which node owns a key, as the others see it; `asked` is one that runs.
    pub(crate) fn owner(&self, key: &str, asked: &Redis) -> usize {
        let slot = slot_of(key, asked);
        let ranges: Vec<(u16, u16, (String, u16))> = asked
            .run::<Vec<Vec<redis::Value>>>(&["CLUSTER", "SLOTS"])
            .into_iter()
            .map(|range| {
                let mut range = range.into_iter();
                let mut next = || range.next().unwrap();
                let number = |value| redis::from_redis_value::<u16>(value).unwrap();
                let (first, last) = (number(next()), number(next()));
                let redis::Value::Array(node) = next() else {
                    panic!("a range without an owner");
                };
                let host = redis::from_redis_value(node[0].clone()).unwrap();
                let port = redis::from_redis_value(node[1].clone()).unwrap();
                (first, last, (host, port))
            })
            .collect();
        let port = ranges
            .into_iter()
            .find(|(first, last, _)| (*first..=*last).contains(&slot))
            .map(|(_, _, (_, port))| port);
        let owner = self.nodes.iter().position(|n| Some(n.port) == port);
        owner.unwrap_or_else(|| panic!("no node owns {key}"))
    }

    /// The node that owns a key while no node is away.
    pub(crate) fn of(&self, key: &str) -> &Redis {
        &self.nodes[self.owner(key, &self.nodes[0])]
    }

    /// An id whose keys the node of this number owns.
    pub(crate) fn id_at(&self, place: usize, prefix: &str) -> String {
        (0..)
            .map(|n| format!("{prefix}{n}"))
            .find(|id| self.owner(&format!("agent:{id}"), &self.nodes[0]) == place)
            .unwrap()
    }

    fn wait_for_all(&self, fact: &str) {
        for node in &self.nodes {
            eventually(&format!("{fact} at every node"), || {
                let info: String = node.run(&["CLUSTER", "INFO"]);
                info.lines().any(|line| line == fact).then_some(())
            });
        }
    }
}

/// One node that is no part of a cluster yet.
pub(crate) fn node(bus: &str, arguments: &[&str]) -> Redis {
    let mut all = vec!["--cluster-enabled", "yes", "--cluster-port", bus];
    all.extend(["--cluster-node-timeout", "1000"]);
    all.extend(["--cluster-replica-validity-factor", "0"]);
    all.extend(["--repl-diskless-sync-delay", "0"]);
    all.extend(arguments);
    let mut redis = Redis::absent(&all);
    redis.up();
    redis
}

/// The slot of a key.
pub(crate) fn slot_of(key: &str, asked: &Redis) -> u16 {
    asked.run(&["CLUSTER", "KEYSLOT", key])
}

impl Redis {
    /// Its name among the nodes.
    pub(crate) fn id(&self) -> String {
        self.run(&["CLUSTER", "MYID"])
    }
}
