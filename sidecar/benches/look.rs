//! Processor time of one look at a tree of ten processes, a hundred threads and fifty sockets, beside what `ps` and `lsof`
//! take for the same tree in the same run.
#![expect(clippy::unwrap_used, reason = "a bench that cannot set up must stop")]

use hbsidecar::cost_of_looks;
use heartbeat::verdict::sample::SampleDepth;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LOOKS: usize = 200;
const PEER_RUNS: u32 = 20;
/// Between two looks at the default patience.
const PAUSE: Duration = Duration::from_secs(5);
/// A tick of the processor time in /proc.
const TICK: Duration = Duration::from_millis(10);
/// What a look may take.
const BUDGET: Duration = Duration::from_millis(3);

const TREE: &str = "import os,threading,socket
l=socket.create_server(('127.0.0.1',0),backlog=64)
wait=threading.Event()
def body(sockets):
  keep=[socket.create_connection(l.getsockname()) for _ in range(sockets)]
  for _ in range(9): threading.Thread(target=wait.wait,daemon=True).start()
  wait.wait()
pids=[os.getpid()]
for n in range(9):
  pid=os.fork()
  if pid==0: body(3 if n<7 else 2)
  pids.append(pid)
keep=[l.accept()[0] for _ in range(25)]
for _ in range(9): threading.Thread(target=wait.wait,daemon=True).start()
print(*pids,flush=True)
wait.wait()";

struct Tree {
    root: Child,
    pids: Vec<String>,
}

impl Tree {
    fn start() -> Self {
        let mut root = Command::new("python3")
            .args(["-c", TREE])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(root.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let pids: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let tree = Self { root, pids };
        while tree.threads() < 100 {
            std::thread::yield_now();
        }
        tree
    }

    fn threads(&self) -> usize {
        let of = |pid: &String| {
            std::fs::read_dir(format!("/proc/{pid}/task"))
                .unwrap()
                .count()
        };
        self.pids.iter().map(of).sum()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for pid in &self.pids[1..] {
            let _ = Command::new("kill").args(["-9", pid]).status();
        }
        let _ = self.root.kill();
        let _ = self.root.wait();
    }
}

fn main() {
    let tree = Tree::start();
    let pids = tree.pids.join(",");
    println!("10 processes, {} threads, 51 sockets", tree.threads());
    for (name, depth) in [
        ("counters", SampleDepth::Counters),
        ("close look", SampleDepth::Waits),
    ] {
        let mut costs = cost_of_looks(tree.root.id(), depth, LOOKS);
        costs.sort_unstable();
        let (middle, slow) = (costs[LOOKS / 2], costs[LOOKS * 95 / 100]);
        let share = middle.as_secs_f64() / PAUSE.as_secs_f64() * 100.0;
        let within = if middle <= BUDGET { "within" } else { "OVER" };
        println!(
            "hbsidecar, {name:<12} {middle:>8.2?}   95 %: {slow:>8.2?}   {share:.3} % of a core every 5 s   {within} {BUDGET:?}"
        );
    }
    for peer in [
        format!("ps -L -o pid,tid,stat,time,wchan -p {pids}"),
        "ps -eLf".to_owned(),
        format!("lsof -n -P -p {pids}"),
    ] {
        let name: String = peer.split(&pids).next().unwrap().trim().chars().collect();
        match cost_of(&peer) {
            Some(cost) => println!("{name:<42} {cost:>8.2?}"),
            None => println!("{name:<42} is not here"),
        }
    }
}

/// Processor time of one run, of many.
fn cost_of(command: &str) -> Option<Duration> {
    let mut words = command.split(' ');
    let (program, arguments): (_, Vec<&str>) = (words.next()?, words.collect());
    let before = of_children();
    for _ in 0..PEER_RUNS {
        let mut peer = Command::new(program);
        peer.args(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        peer.status().ok()?;
    }
    Some((of_children() - before) / PEER_RUNS)
}

/// Processor time of all children that have ended.
fn of_children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(13).take(2);
    let ticks: u32 = ticks.map(|n| n.parse::<u32>().unwrap()).sum();
    TICK * ticks
}
