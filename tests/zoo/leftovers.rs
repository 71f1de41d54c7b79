//! How all of a row ends, and how what a killed run left behind is found.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Ends what an earlier run that was killed left behind: processes, cgroups, directories, namespaces.
pub(crate) fn sweep() {
    for root in cgroup_roots() {
        for group in entries(&root).filter(|path| is_of_the_dead(path)) {
            let _ = std::fs::write(group.join("freezer.state"), "THAWED");
            let _ = std::fs::write(group.join("cgroup.freeze"), "0");
        }
    }
    end_all(|row| is_of_the_dead(Path::new(row)));
    for root in cgroup_roots() {
        for group in entries(&root).filter(|path| is_of_the_dead(path)) {
            let _ = std::fs::remove_dir(group);
        }
    }
    for dir in entries(&std::env::temp_dir()).filter(|path| is_of_the_dead(path)) {
        let _ = std::fs::remove_dir_all(dir);
    }
    crate::net::sweep();
}

/// Whether a name like `hbzoo-PID-…` was given by a run that is over.
fn is_of_the_dead(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let owner = name.and_then(|name| name.strip_prefix("hbzoo-")?.split('-').next());
    owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
}

fn cgroup_roots() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    let groups =
        fields.filter(|fields| fields.get(2).is_some_and(|kind| kind.starts_with("cgroup")));
    groups.map(|fields| PathBuf::from(fields[1])).collect()
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let read = std::fs::read_dir(dir).into_iter().flatten().flatten();
    read.map(|entry| entry.path())
}

/// KILL until none is left, five seconds at most.
pub(crate) fn end_all(chosen: impl Fn(&str) -> bool) {
    let mut found = carriers(&chosen);
    for _ in 0..500 {
        for pid in &found {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(*pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        std::thread::park_timeout(Duration::from_millis(10));
        found = carriers(&chosen);
        if found.is_empty() {
            return;
        }
    }
    eprintln!("these do not end: {found:?}");
}

/// Processes whose `ZOO_ROW` is one of those, and all their descendants: some write their title over their environment.
pub(crate) fn carriers(chosen: impl Fn(&str) -> bool) -> Vec<i32> {
    let carries = |pid: &i32| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let mut rows = environment
            .split(|b| *b == 0)
            .filter_map(|v| v.strip_prefix(b"ZOO_ROW="));
        rows.any(|row| std::str::from_utf8(row).is_ok_and(&chosen))
    };
    let mut found: Vec<i32> = pids().filter(carries).collect();
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let new = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        for pid in new {
            if !found.contains(&pid) {
                found.push(pid);
            }
        }
        at += 1;
    }
    found
}

/// All processes there are.
pub(crate) fn pids() -> impl Iterator<Item = i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
