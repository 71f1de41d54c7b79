//! Processor time and memory of an agent's whole process tree, from /proc.
//!
//! Only the tree is read: children are found through their parents, so the cost does not grow with the machine. A process
//! that vanishes between two reads is no error.

use heartbeat::base::moment::{Moment, millis};
use procfs::process::Process;

/// More processes than this are not followed; the figures then are a lower bound.
const PROCESSES_MAX: usize = 4096;
/// Two samples closer than this would divide by noise.
const SAMPLE_MIN_MS: u64 = 50;
const MIB: f64 = 1024.0 * 1024.0;

/// Samples one process tree.
#[derive(Debug)]
pub(crate) struct Vitals {
    ticks_per_second: f64,
    page_bytes: u64,
    last: Option<(i32, Moment, u64)>,
    cpu_percent: f64,
}

/// One sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sample {
    /// Of one core, since the last sample.
    pub(crate) cpu_percent: f64,
    /// PSS where readable, else RSS.
    pub(crate) memory_mb: f64,
}

impl Vitals {
    pub(crate) fn new() -> Self {
        Self {
            ticks_per_second: procfs::ticks_per_second() as f64,
            page_bytes: procfs::page_size(),
            last: None,
            cpu_percent: 0.0,
        }
    }

    /// The trees under these roots; the first one is the agent.
    pub(crate) fn sample(&mut self, roots: &[i32], now: Moment) -> Sample {
        let mut ticks = 0;
        let mut memory = 0;
        for process in tree(roots) {
            // Time of children that ended and were waited for has moved to their parent: counting both loses nothing.
            if let Ok(stat) = process.stat() {
                let ended = u64::try_from(stat.cutime + stat.cstime).unwrap_or(0);
                ticks += stat.utime + stat.stime + ended;
                memory += pss(&process).unwrap_or(stat.rss * self.page_bytes);
            }
        }
        self.follow(roots.first().copied().unwrap_or(0), ticks, now);
        Sample {
            cpu_percent: (self.cpu_percent * 10.0).round() / 10.0,
            memory_mb: (memory as f64 / MIB * 10.0).round() / 10.0,
        }
    }

    fn follow(&mut self, root: i32, ticks: u64, now: Moment) {
        match self.last {
            Some((same, then, before)) if same == root => {
                let elapsed = millis(now.since(then));
                if elapsed < SAMPLE_MIN_MS {
                    return;
                }
                let seconds = ticks.saturating_sub(before) as f64 / self.ticks_per_second;
                self.cpu_percent = seconds * 100_000.0 / elapsed as f64;
            }
            Some(_) | None => self.cpu_percent = 0.0,
        }
        self.last = Some((root, now, ticks));
    }
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

    #[test]
    fn a_process_has_memory() {
        let sample = Vitals::new().sample(&[me()], Moment::from_millis(0));
        assert!(sample.memory_mb > 0.1, "{sample:?}");
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
        vitals.follow(1, 100, Moment::from_millis(0));
        vitals.follow(
            1,
            100 + vitals.ticks_per_second as u64,
            Moment::from_millis(2000),
        );
        assert_eq!(vitals.cpu_percent, 50.0);
    }

    #[test]
    fn a_new_incarnation_starts_from_zero() {
        let mut vitals = Vitals::new();
        vitals.follow(1, 100, Moment::from_millis(0));
        vitals.follow(2, 900_000, Moment::from_millis(2000));
        assert_eq!(vitals.cpu_percent, 0.0);
    }

    #[test]
    fn a_process_that_is_gone_has_no_vitals_and_is_no_error() {
        assert_eq!(
            Vitals::new().sample(&[i32::MAX], Moment::from_millis(0)),
            Sample::default()
        );
    }
}
