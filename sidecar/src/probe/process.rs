//! One process as /proc tells it: state, counters, threads, children.

use super::read::{Reader, numbers};
use heartbeat::base::known_agents::{Invocation, invocation};
use heartbeat::verdict::sample::{Io, Process, RunState, Thread, Why};
use heartbeat::wire::beat::cut;
use std::time::Duration;

/// The most threads sampled in one process; further ones are only counted.
pub(super) const THREADS_MAX: usize = 1024;
/// The longest command line kept, in characters.
const COMMAND_CHARS_MAX: usize = 160;

/// Reads the counters, for any sample.
pub(super) fn counters(reader: &mut Reader, pid: u32) -> Result<Process, Why> {
    let stat = reader.text(&format!("/proc/{pid}/stat"))?;
    let mut process = stat_line(pid, &stat).ok_or(Why::Malformed)?;
    // The first thread stays as a zombie until the last one ends.
    if process.state == RunState::Zombie && process.thread_count > 1 {
        process.first_thread_ended = true;
        process.thread_count -= 1;
        process.state = RunState::Sleeping;
    }
    process.io = reader
        .text(&format!("/proc/{pid}/io"))
        .ok()
        .and_then(|text| io(&text));
    Ok(process)
}

/// The threads with their time on processors, and the children they started.
pub(super) fn threads(
    reader: &mut Reader,
    process: &mut Process,
    room: usize,
) -> Result<Vec<u32>, Why> {
    let pid = process.pid;
    let mut tids = if process.thread_count == 1 && !process.first_thread_ended {
        vec![pid]
    } else {
        numbers(&format!("/proc/{pid}/task"), room.min(THREADS_MAX))?.0
    };
    if process.first_thread_ended {
        tids.retain(|tid| *tid != pid);
        if let Some(tid) = tids.first()
            && let Ok(stat) = reader.text(&format!("/proc/{pid}/task/{tid}/stat"))
            && let Some(thread) = stat_line(*tid, &stat)
        {
            process.state = thread.state;
        }
    }
    let mut children = Vec::new();
    for tid in tids {
        let statistics = reader.text(&format!("/proc/{pid}/task/{tid}/schedstat"));
        let counted = statistics.map(|text| thread(tid, &text)).ok();
        let counted = counted.filter(|thread| thread.turns > 0);
        let found = counted.or_else(|| {
            // A kernel without scheduling statistics counts at least how often the thread was switched.
            let status = reader
                .text(&format!("/proc/{pid}/task/{tid}/status"))
                .ok()?;
            let turns = switches(&status);
            Some(Thread {
                tid,
                turns,
                ..Thread::default()
            })
        });
        process.threads.extend(found);
        match reader.text(&format!("/proc/{pid}/task/{tid}/children")) {
            Ok(text) => children.extend(
                text.split_whitespace()
                    .filter_map(|n| n.parse::<u32>().ok()),
            ),
            Err(Why::Gone) if tid == pid => return Err(Why::Unsupported),
            Err(_) => {}
        }
    }
    Ok(children)
}

/// What only a deep sample needs: the tracer, the handled and the ignored signals.
pub(super) fn detail(reader: &mut Reader, process: &mut Process) -> Result<(), Why> {
    let pid = process.pid;
    let status = reader.text(&format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    process.tracer = field("TracerPid:")
        .and_then(|n| n.parse().ok())
        .filter(|n| *n != 0);
    let mask = |name| field(name).and_then(|n| u64::from_str_radix(n, 16).ok());
    process.caught = mask("SigCgt:");
    process.ignored = mask("SigIgn:");
    Ok(())
}

/// The command line, arguments separated by spaces, and how it starts a known agent.
pub(super) fn command(reader: &mut Reader, pid: u32) -> Option<(String, Option<Invocation>)> {
    let line = reader.text(&format!("/proc/{pid}/cmdline")).ok()?;
    let args: Vec<&str> = line
        .strip_suffix('\0')
        .unwrap_or(&line)
        .split('\0')
        .collect();
    let invocation = invocation(&args);
    let line = line.trim_end_matches('\0');
    let words = line.replace(|c: char| c.is_control(), " ");
    (!line.is_empty()).then(|| (cut(words, COMMAND_CHARS_MAX), invocation))
}

/// A line of `stat`. The name stands in brackets and may hold anything, brackets too.
pub(super) fn stat_line(pid: u32, line: &str) -> Option<Process> {
    let name = line.get(line.find('(')? + 1..line.rfind(')')?)?;
    let fields: Vec<&str> = line
        .get(line.rfind(')')? + 1..)?
        .split_whitespace()
        .collect();
    let number = |n: usize| fields.get(n).and_then(|f| f.parse::<i64>().ok());
    let count = |n: usize| number(n).and_then(|n| u64::try_from(n).ok());
    let terminal = number(4)?;
    Some(Process {
        pid,
        parent: u32::try_from(number(1)?).ok()?,
        started: count(19)?,
        name: cut(name.to_owned(), COMMAND_CHARS_MAX),
        state: state(fields.first()?),
        group: i32::try_from(number(2)?).ok()?,
        foreground: number(5)
            .filter(|_| terminal != 0)
            .and_then(|n| i32::try_from(n).ok()),
        terminal: pseudo_terminal(terminal),
        cpu_ticks: count(11)? + count(12)?,
        reaped_ticks: count(13).unwrap_or(0) + count(14).unwrap_or(0),
        thread_count: u32::try_from(number(17)?).ok()?,
        memory: count(21).unwrap_or(0) * rustix::param::page_size() as u64,
        ..Process::default()
    })
}

/// The number of a pseudo terminal from its device, where it is one: major numbers 136 to 143.
fn pseudo_terminal(device: i64) -> Option<u32> {
    let device = u32::try_from(device).ok()?;
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
    let folder = major.checked_sub(136).filter(|folder| *folder < 8)?;
    Some(folder << 20 | minor)
}

/// The kernel's letter of a state.
pub(super) fn state(letter: &str) -> RunState {
    match letter {
        "R" => RunState::Running,
        "D" => RunState::Disk,
        "T" => RunState::Stopped,
        "t" => RunState::Traced,
        "Z" | "X" | "x" => RunState::Zombie,
        _ => RunState::Sleeping,
    }
}

fn thread(tid: u32, schedstat: &str) -> Thread {
    let mut numbers = schedstat
        .split_whitespace()
        .map(|n| n.parse::<u64>().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    Thread {
        tid,
        name: String::new(),
        run: Duration::from_nanos(next()),
        ready: Duration::from_nanos(next()),
        turns: next(),
        ..Thread::default()
    }
}

/// How often a thread left a processor, of its own will or not, from its `status`.
fn switches(status: &str) -> u64 {
    let counts = status
        .lines()
        .filter_map(|line| line.split_once("voluntary_ctxt_switches:"))
        .filter_map(|(_, count)| count.trim().parse::<u64>().ok());
    counts.sum()
}

/// The text of `/proc/PID/io`.
pub(super) fn io(text: &str) -> Option<Io> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().parse::<u64>().ok()
    };
    Some(Io {
        read: field("rchar")?,
        written: field("wchar")?,
        reads: field("syscr")?,
        writes: field("syscw")?,
        disk_read: field("read_bytes")?,
        disk_written: field("write_bytes")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_brackets_and_spaces() {
        let line = "7 (a) S (b) R 1 7 7 34816 9 0 0 0 0 0 5 6 1 2 20 0 3 0 4242 0 0";
        let process = stat_line(7, line).unwrap();
        assert_eq!(
            (process.name.as_str(), process.state),
            ("a) S (b", RunState::Running)
        );
        assert_eq!(
            (process.parent, process.started, process.foreground),
            (1, 4242, Some(9))
        );
        assert_eq!(
            (
                process.cpu_ticks,
                process.reaped_ticks,
                process.thread_count
            ),
            (11, 3, 3)
        );
    }

    #[test]
    fn the_terminal_of_a_process_is_known_by_its_number() {
        let numbers = [34_816, 34_821, 0x10_8805, 0, 1025].map(pseudo_terminal);
        assert_eq!(numbers, [Some(0), Some(5), Some(261), None, None]);
    }

    #[test]
    fn a_line_that_is_cut_off_is_no_process() {
        for line in [
            "",
            "7",
            "7 (a",
            "7 )a( S 1",
            "7 (a) S 1 2",
            "7 (a) S x y z 0 0",
        ] {
            assert!(stat_line(7, line).is_none(), "{line:?}");
        }
    }

    #[test]
    fn switches_of_both_kinds_count() {
        let status = "Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t8\n";
        assert_eq!(switches(status), 158);
    }

    #[test]
    fn this_process_has_its_own_threads() {
        let mut reader = Reader::default();
        let mut me = counters(&mut reader, std::process::id()).unwrap();
        threads(&mut reader, &mut me, 100).unwrap();
        assert!(me.main().is_some_and(|t| t.turns > 0), "{me:?}");
        assert!(me.io.is_some_and(|io| io.read > 0), "{me:?}");
    }
}
