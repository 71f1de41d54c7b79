//! Processor time and memory of an agent's whole process tree, from /proc.
//!
//! Only the tree is read: children are found through their parents, so the cost does not grow with the machine. A process
//! that vanishes between two reads is no error.

use heartbeat::base::moment::{Moment, millis};
use nix::sys::resource::{UsageWho, getrusage};
use procfs::process::Process;
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;
use std::time::Duration;

/// More processes than this are not followed; the figures then are a lower bound.
const PROCESSES_MAX: usize = 4096;
/// Two samples closer than this would divide by noise.
const SAMPLE_MIN_MS: u64 = 50;
const MIB: f64 = 1024.0 * 1024.0;
/// Memory is read again after this time at the earliest: a change of state publishes a beat between two others.
const MEMORY_PAUSE: Duration = Duration::from_secs(1);
/// What reading the PSS of a tree may take of a beat. The kernel walks every page that is mapped: 10 GB take 300 ms.
const PSS_BUDGET: Duration = Duration::from_millis(5);
/// What a byte takes before one was measured: 5 ms for 160 MB.
const NANOS_PER_BYTE: f64 = 0.03;
/// A smaller process shows more of the cost of the call than of its pages.
const MEASURED_BYTES_MIN: u64 = 32 << 20;

/// Samples one process tree.
#[derive(Debug)]
pub(crate) struct Vitals {
    ticks_per_second: f64,
    page_bytes: u64,
    /// Of this process, which is no part of an agent.
    myself: i32,
    last: Option<(i32, Moment, Ticks)>,
    cpu_percent: f64,
    memory: Option<(Moment, u64)>,
    /// What a byte of a process takes when its PSS is read, measured the last time.
    nanos_per_byte: f64,
    /// The last figure was, in part, RSS for want of time.
    is_rss: bool,
}

/// One sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Of one core, since the last sample.
    pub(crate) cpu_percent: f64,
    /// PSS where it can be read in time, else RSS.
    pub(crate) memory_mb: f64,
}

impl Vitals {
    pub(crate) fn new() -> Self {
        Self {
            ticks_per_second: procfs::ticks_per_second() as f64,
            page_bytes: procfs::page_size(),
            myself: i32::try_from(std::process::id()).unwrap_or(0),
            last: None,
            cpu_percent: 0.0,
            memory: None,
            nanos_per_byte: NANOS_PER_BYTE,
            is_rss: false,
        }
    }

    /// The trees under these roots; the first one is the agent.
    pub(crate) fn sample(&mut self, roots: &[i32], now: Moment) -> Sample {
        let mut ticks = Ticks {
            reaped_here: reaped_here(self.ticks_per_second),
            ..Ticks::default()
        };
        let mut resident = Vec::new();
        for process in self.processes(roots) {
            if let Ok(stat) = process.stat() {
                let key = (stat.pid, stat.starttime);
                let reaped = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
                let own = stat.utime + stat.stime;
                ticks.processes.insert(key, (own, reaped));
                resident.push((process, stat.rss * self.page_bytes));
            }
        }
        let memory = self.memory(&resident, now);
        self.follow(roots.first().copied().unwrap_or(0), ticks, now);
        Sample {
            cpu_percent: (self.cpu_percent * 10.0).round() / 10.0,
            memory_mb: (memory as f64 / MIB * 10.0).round() / 10.0,
        }
    }

    /// Those of the agent. One that started its own sidecar has that in its tree.
    fn processes(&self, roots: &[i32]) -> impl Iterator<Item = Process> {
        let myself = self.myself;
        let found = tree(roots).into_iter();
        found.filter(move |process| process.pid != myself)
    }

    fn memory(&mut self, processes: &[(Process, u64)], now: Moment) -> u64 {
        if let Some((at, memory)) = self.memory
            && !processes.is_empty()
            && now.since(at) < MEMORY_PAUSE
        {
            return memory;
        }
        let resident: u64 = processes.iter().map(|(_, resident)| resident).sum();
        let is_rss = resident as f64 * self.nanos_per_byte > PSS_BUDGET.as_nanos() as f64;
        if is_rss && !self.is_rss {
            tracing::info!(
                "the memory in beats is RSS from now on: reading PSS would take too long"
            );
        } else if !is_rss && self.is_rss {
            tracing::info!("the memory in beats is PSS again");
        }
        self.is_rss = is_rss;
        let memory = if is_rss {
            resident
        } else {
            let before = spent();
            let of = |(process, resident): &(Process, u64)| pss(process).unwrap_or(*resident);
            let memory = processes.iter().map(of).sum();
            if resident >= MEASURED_BYTES_MIN {
                let took = spent().saturating_sub(before).as_nanos();
                self.nanos_per_byte = took as f64 / resident as f64;
            }
            memory
        };
        self.memory = Some((now, memory));
        memory
    }

    fn follow(&mut self, root: i32, ticks: Ticks, now: Moment) {
        match &self.last {
            Some((same, then, before)) if *same == root => {
                let elapsed = millis(now.since(*then));
                if elapsed < SAMPLE_MIN_MS {
                    return;
                }
                let seconds = ticks.since(before) as f64 / self.ticks_per_second;
                self.cpu_percent = seconds * 100_000.0 / elapsed as f64;
            }
            Some(_) | None => self.cpu_percent = 0.0,
        }
        self.last = Some((root, now, ticks));
    }
}

/// Processor time of a tree, in clock ticks.
#[derive(Debug, Default)]
struct Ticks {
    /// By number and start time: its own, and that of children it has reaped.
    processes: BTreeMap<(i32, u64), (u64, u64)>,
    reaped_here: u64,
}

impl Ticks {
    /// Since an earlier sample. The time of a process that has ended and was reaped stands with the one that reaped it. It
    /// stands nowhere when its parent ignores SIGCHLD, or when a process outside of the tree reaped it: what it spent since
    /// the earlier sample is lost then, and no more than that.
    fn since(&self, before: &Self) -> u64 {
        let (mut own, mut reaped) = (0, self.reaped_here.saturating_sub(before.reaped_here));
        for (key, now) in &self.processes {
            let then = before.processes.get(key).copied().unwrap_or_default();
            own += now.0.saturating_sub(then.0);
            reaped += now.1.saturating_sub(then.1);
        }
        let ended = before.processes.iter();
        let ended = ended.filter(|(key, _)| !self.processes.contains_key(key));
        let counted: u64 = ended.map(|(_, (own, reaped))| own + reaped).sum();
        own + reaped.saturating_sub(counted)
    }
}

/// Ticks of processes that this one has reaped: helpers that left the agent's tree and came to it. When it reaps an agent,
/// the next one is compared with nothing.
fn reaped_here(ticks_per_second: f64) -> u64 {
    let Ok(usage) = getrusage(UsageWho::RUSAGE_CHILDREN) else {
        return 0;
    };
    let seconds =
        |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1_000_000.0;
    let spent = seconds(usage.user_time()) + seconds(usage.system_time());
    (spent * ticks_per_second) as u64
}

/// Processor time of this thread.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn tree(roots: &[i32]) -> Vec<Process> {
    let mut found = Vec::new();
    let mut pids = roots.to_vec();
    while let Some(pid) = pids.pop() {
        let Ok(process) = Process::new(pid) else {
            continue;
        };
        pids.extend(children(&process));
        found.push(process);
        if found.len() == PROCESSES_MAX {
            break;
        }
    }
    found
}

fn children(process: &Process) -> Vec<i32> {
    let Ok(tasks) = process.tasks() else {
        return Vec::new();
    };
    tasks
        .flatten()
        .filter_map(|task| task.children().ok())
        .flatten()
        .filter_map(|pid| i32::try_from(pid).ok())
        .collect()
}

fn pss(process: &Process) -> Option<u64> {
    let rollup = process.smaps_rollup().ok()?;
    rollup
        .memory_map_rollup
        .0
        .first()?
        .extension
        .map
        .get("Pss")
        .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

    /// To which this process is an agent like any other.
    fn of_another() -> Vitals {
        Vitals {
            myself: 0,
            ..Vitals::new()
        }
    }

    #[test]
    fn a_process_has_memory() {
        let sample = of_another().sample(&[me()], Moment::from_millis(0));
        assert!(sample.memory_mb > 0.1, "{sample:?}");
    }

    #[test]
    fn a_process_that_maps_much_is_measured_by_what_is_resident() {
        let mut vitals = of_another();
        vitals.nanos_per_byte = 1e6;
        let sample = vitals.sample(&[me()], Moment::from_millis(0));
        assert!(vitals.is_rss);
        assert!(sample.memory_mb > 0.1, "{sample:?}");
    }

    #[test]
    fn memory_is_not_read_again_at_once() {
        let mut vitals = of_another();
        vitals.sample(&[me()], Moment::from_millis(0));
        vitals.memory = vitals.memory.map(|(at, _)| (at, 7 << 20));
        let at = |millis| Moment::from_millis(millis);
        assert_eq!(vitals.sample(&[me()], at(900)).memory_mb, 7.0);
        assert_ne!(vitals.sample(&[me()], at(1000)).memory_mb, 7.0);
    }

    #[test]
    fn time_of_a_process_that_this_one_reaped_is_counted() {
        let before = reaped_here(1_000_000.0);
        let mut sort = std::process::Command::new("sh");
        let code = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
        sort.args(["-c", code]).status().unwrap();
        assert!(reaped_here(1_000_000.0) > before);
    }

    #[test]
    fn a_child_belongs_to_the_tree_of_its_parent() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pids: Vec<i32> = tree(&[me()]).iter().map(|p| p.pid).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            pids.contains(&i32::try_from(child.id()).unwrap()),
            "{pids:?}"
        );
    }

    #[test]
    fn processor_time_is_a_percentage_of_one_core() {
        let mut vitals = Vitals::new();
        vitals.follow(1, ticks(&[(1, 100, 0)]), Moment::from_millis(0));
        let second = vitals.ticks_per_second as u64;
        let later = ticks(&[(1, 100 + second, 0)]);
        vitals.follow(1, later, Moment::from_millis(2000));
        assert_eq!(vitals.cpu_percent, 50.0);
    }

    #[test]
    fn a_new_incarnation_starts_from_zero() {
        let mut vitals = Vitals::new();
        vitals.follow(1, ticks(&[(1, 100, 0)]), Moment::from_millis(0));
        let other = ticks(&[(2, 900_000, 0)]);
        vitals.follow(2, other, Moment::from_millis(2000));
        assert_eq!(vitals.cpu_percent, 0.0);
    }

    /// Of processes: number, own time, time of children that it has reaped.
    fn ticks(processes: &[(i32, u64, u64)]) -> Ticks {
        let of = |(pid, own, reaped): &(i32, u64, u64)| ((*pid, 0), (*own, *reaped));
        Ticks {
            processes: processes.iter().map(of).collect(),
            reaped_here: 0,
        }
    }

    #[test]
    fn a_helper_that_ended_takes_no_time_of_others_with_it() {
        let before = ticks(&[(1, 10, 0), (2, 500, 0), (3, 40, 0)]);
        let reaped_by_the_agent = ticks(&[(1, 12, 530), (3, 140, 0)]);
        assert_eq!(reaped_by_the_agent.since(&before), 2 + 30 + 100);
        let reaped_elsewhere = ticks(&[(1, 12, 0), (3, 140, 0)]);
        assert_eq!(reaped_elsewhere.since(&before), 2 + 100);
        let started_and_ended_between = ticks(&[(1, 12, 70), (2, 500, 0), (3, 40, 0)]);
        assert_eq!(started_and_ended_between.since(&before), 2 + 70);
    }

    #[test]
    fn the_sidecar_of_an_agent_that_started_it_is_no_part_of_the_agent() {
        let is_in = |vitals: Vitals| vitals.processes(&[me()]).any(|process| process.pid == me());
        assert!(!is_in(Vitals::new()));
        assert!(is_in(of_another()));
    }

    #[test]
    fn a_process_that_is_gone_has_no_vitals_and_is_no_error() {
        assert_eq!(
            Vitals::new().sample(&[i32::MAX], Moment::from_millis(0)),
            Sample::default()
        );
    }
}
