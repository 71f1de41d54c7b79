//! Whether a program does what its row says, from two looks at it a second apart.

use crate::seen::{Look, Process, Thread, deadline, is_call};
use crate::table::Claim;
use crate::world::World;
use std::collections::BTreeMap;

const FAR: f64 = 3600.0;

/// What the claim says and /proc does not show; none when all of it holds.
pub(crate) fn fault(claim: &Claim, world: &World, before: &Look, after: &Look) -> Option<String> {
    let received = [("said", &claim.said), ("notified", &claim.notified)];
    for (file, text) in received
        .into_iter()
        .filter_map(|(file, text)| Some((file, text.as_ref()?)))
    {
        if !world.received(file).contains(text.as_str()) {
            return Some(format!("never {file} {text}"));
        }
    }
    if claim
        .printed
        .as_ref()
        .is_some_and(|text| !world.printed().contains(text.as_str()))
    {
        return Some(format!("never printed {:?}", claim.printed));
    }
    if claim.silent && !world.printed().is_empty() {
        return Some("is not silent".into());
    }
    if claim.cut && !world.is_cut() {
        return Some("the peer can be reached".into());
    }
    let candidates = who(&claim.who, world, after);
    let wanted = claim.at_least.max(1);
    let mut faults = Vec::new();
    let mut good = 0;
    for pid in &candidates {
        match of(claim, *pid, world, before, after) {
            None => good += 1,
            Some(fault) => faults.push(format!("{pid}: {fault}")),
        }
    }
    (good < wanted).then(|| format!("{good} of {wanted} {}: {}", claim.who, faults.join("; ")))
}

fn who(words: &str, world: &World, look: &Look) -> Vec<i32> {
    match words.split_once(' ') {
        None if words == "root" => vec![look.root],
        None if words == "child" => look.descendants(None),
        Some(("child", name)) => look.descendants(Some(name)),
        Some(("fact", name)) => world
            .fact(name)
            .and_then(|pid| pid.parse().ok())
            .into_iter()
            .collect(),
        _ => panic!("no process is {words:?}"),
    }
}

fn of(claim: &Claim, pid: i32, world: &World, before: &Look, after: &Look) -> Option<String> {
    let Some(process) = after.processes.get(&pid) else {
        return Some("is gone".into());
    };
    // What waits for the next child is between children now and then: a look that finds it is enough there.
    let steady = !claim.moving.iter().any(|counter| counter == "pids");
    let first = before.processes.get(&pid).filter(|_| steady);
    [first, Some(process)]
        .into_iter()
        .flatten()
        .find_map(|process| stands(claim, pid, process, world, after))
        .or_else(|| moves(claim, pid, before, after))
}

/// What holds in each look.
fn stands(
    claim: &Claim,
    pid: i32,
    process: &Process,
    world: &World,
    look: &Look,
) -> Option<String> {
    let no = |ok: bool, what: String| (!ok).then_some(what);
    let tcp: Vec<&str> = process.sockets.iter().map(|socket| socket.state).collect();
    None.or_else(|| {
        no(
            claim.state.is_none_or(|s| s == process.state),
            format!("state {}", process.state),
        )
    })
    .or_else(|| {
        no(
            claim.threads.is_none_or(|n| n == process.threads.len()),
            format!("{} threads", process.threads.len()),
        )
    })
    .or_else(|| {
        no(
            claim.traced.is_none_or(|t| t == (process.tracer != 0)),
            format!("tracer {}", process.tracer),
        )
    })
    .or_else(|| {
        no(
            !claim.ignores_term || process.ignores_term,
            "TERM is not ignored".into(),
        )
    })
    .or_else(|| {
        no(
            !claim.outside || !look.in_tree(pid),
            "is in the tree".into(),
        )
    })
    .or_else(|| {
        no(
            claim
                .tcp
                .as_ref()
                .is_none_or(|state| tcp.contains(&state.as_str())),
            format!("sockets {tcp:?}"),
        )
    })
    .or_else(|| no(!claim.no_tcp || tcp.is_empty(), format!("sockets {tcp:?}")))
    .or_else(|| {
        no(
            !claim.unread || process.sockets.iter().any(|s| s.unread > 0),
            "nothing is unread".into(),
        )
    })
    .or_else(|| {
        no(
            !claim.frozen || is_frozen(pid),
            "its cgroup is not frozen".into(),
        )
    })
    .or_else(|| {
        no(
            !claim.waits_for_lock || waits_for_lock(pid),
            "/proc/locks does not have it waiting".into(),
        )
    })
    .or_else(|| {
        no(
            !claim.eventfd_only || only_eventfds_at_work(process),
            "more than an eventfd".into(),
        )
    })
    .or_else(|| calls(claim, pid, process))
    .or_else(|| pipes(claim, process, world, look))
}

fn calls(claim: &Claim, pid: i32, process: &Process) -> Option<String> {
    let right = |thread: &Thread| {
        let Some(call) = &thread.call else {
            return claim.r#in.is_empty();
        };
        let named = claim.r#in.is_empty() || claim.r#in.iter().any(|name| is_call(call.0, name));
        named && on(claim, call, &process.descriptors) && in_time(claim, pid, call)
    };
    let chosen: Vec<&Thread> = process
        .threads
        .iter()
        .filter(|thread| claim.every_thread || thread.main)
        .collect();
    if process.state != 'Z' && !chosen.into_iter().all(right) {
        let calls: Vec<_> = process.threads.iter().map(|thread| &thread.call).collect();
        return Some(format!("calls {calls:x?}"));
    }
    let other = claim.some_thread_in.as_ref()?;
    let there = |thread: &Thread| {
        thread
            .call
            .is_some_and(|(number, _)| is_call(number, other))
    };
    (!process.threads.iter().any(there)).then(|| format!("no thread in {other}"))
}

fn on(claim: &Claim, call: &(i64, [u64; 6]), descriptors: &BTreeMap<u64, String>) -> bool {
    let Some(wanted) = &claim.on else {
        return true;
    };
    let link = descriptors.get(&call.1[0]).map_or("", String::as_str);
    // A terminal has two names.
    let tty = wanted == "/dev/tty" && link.starts_with("/dev/pts/");
    tty || link.starts_with(wanted.as_str())
        || (wanted.starts_with('/') && link.ends_with(wanted.as_str()))
}

fn in_time(claim: &Claim, pid: i32, call: &(i64, [u64; 6])) -> bool {
    match claim.deadline.as_deref() {
        None => true,
        Some("none") => deadline(pid, call).is_none(),
        Some("finite") => deadline(pid, call).is_some_and(|seconds| seconds > 0.0),
        Some("far") => deadline(pid, call).is_some_and(|seconds| seconds > FAR),
        Some(other) => panic!("no deadline is {other}"),
    }
}

fn pipes(claim: &Claim, process: &Process, world: &World, look: &Look) -> Option<String> {
    let shares = |other: &String| {
        let others = who(other, world, look);
        others
            .iter()
            .filter_map(|pid| look.processes.get(pid))
            .any(|other| look.share_a_pipe(process, other))
    };
    let missing = [&claim.read_by, &claim.holds_pipe_of]
        .into_iter()
        .flatten()
        .find(|other| !shares(other))?;
    Some(format!("shares no pipe with {missing}"))
}

/// What holds between the looks.
fn moves(claim: &Claim, pid: i32, before: &Look, after: &Look) -> Option<String> {
    let changed = |counter: &String| before.counter(counter, pid) != after.counter(counter, pid);
    let change = |counter: &String| {
        format!(
            "{:?} -> {:?}",
            before.counter(counter, pid),
            after.counter(counter, pid)
        )
    };
    if let Some(counter) = claim.moving.iter().find(|counter| !changed(counter)) {
        return Some(format!("{counter} does not move: {}", change(counter)));
    }
    if let Some(counter) = claim.still.iter().find(|counter| changed(counter)) {
        return Some(format!("{counter} moves: {}", change(counter)));
    }
    let total = |look: &Look, counter| {
        look.counter(counter, pid)
            .into_iter()
            .map(|(_, n)| n)
            .sum::<u64>()
    };
    let gained = |counter| total(after, counter).saturating_sub(total(before, counter));
    let [ran, waited, read, written] = ["cpu", "waited", "read", "written"].map(gained);
    if claim.starved && (ran == 0 || waited < 4 * ran) {
        return Some(format!("ran {ran} ns, waited {waited} ns"));
    }
    // The two are read one after the other while it spins on.
    let alike = read.abs_diff(written) <= read / 100 + 64;
    (claim.eventfd_only && !alike).then(|| format!("read {read} bytes, wrote {written}"))
}

fn is_frozen(pid: i32) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let roots = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|root| root.contains("cgroup"));
    let path = groups
        .lines()
        .filter_map(|line| line.rsplit(':').next())
        .find(|path| path.contains("hbzoo"));
    let Some(path) = path else {
        return false;
    };
    roots.into_iter().any(|root| {
        let read = |file: &str| {
            std::fs::read_to_string(format!("{root}{path}/{file}")).unwrap_or_default()
        };
        read("freezer.state").trim() == "FROZEN" || read("cgroup.events").contains("frozen 1")
    })
}

fn waits_for_lock(pid: i32) -> bool {
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    locks
        .lines()
        .any(|line| line.contains("->") && line.contains(&format!(" {pid} ")))
}

/// No socket, no terminal, no file of its own: what it reads and writes can be its own eventfd only.
fn only_eventfds_at_work(process: &Process) -> bool {
    let busy = |link: &&String| link.starts_with("socket:") || link.starts_with("/dev/pts/");
    process.sockets.is_empty() && !process.descriptors.values().any(|link| busy(&link))
}
