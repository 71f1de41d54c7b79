//! Processes as a tree is drawn: each below its parent, with the branches that lead to it.

use crate::wire::evidence_snapshot::SnapshotProcess;
use std::collections::{BTreeMap, BTreeSet};

/// Levels that are drawn; what is deeper stands on the last one.
const LEVELS_MAX: usize = 12;

/// One line of the drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn<'a> {
    /// What stands before the process: `│ └ `. Empty for a root.
    pub branch: String,
    /// The process.
    pub process: &'a SnapshotProcess,
}

impl Drawn<'_> {
    /// The program, without the way to it.
    pub fn program(&self) -> &str {
        let command = self.process.command.as_str();
        let name = command.rsplit('/').next().unwrap_or(command);
        if name.is_empty() { command } else { name }
    }
}

/// Every process once, below its parent. One whose parent is not among them is a root; so is one of a ring of parents.
pub fn drawn(tree: &[SnapshotProcess]) -> Vec<Drawn<'_>> {
    let known: BTreeSet<u32> = tree.iter().map(|process| process.pid).collect();
    let mut children: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut roots = Vec::new();
    for (place, process) in tree.iter().enumerate() {
        if process.parent != process.pid && known.contains(&process.parent) {
            children.entry(process.parent).or_default().push(place);
        } else {
            roots.push(place);
        }
    }
    let mut drawing = Drawing {
        tree,
        children,
        is_drawn: vec![false; tree.len()],
        lines: Vec::new(),
    };
    for root in roots.into_iter().chain(0..tree.len()) {
        drawing.draw(root);
    }
    drawing.lines
}

struct Drawing<'a> {
    tree: &'a [SnapshotProcess],
    /// By the parent's number.
    children: BTreeMap<u32, Vec<usize>>,
    is_drawn: Vec<bool>,
    lines: Vec<Drawn<'a>>,
}

impl Drawing<'_> {
    /// Draws a root with everything below it. Without recursion: a tree may be as deep as it is long.
    fn draw(&mut self, root: usize) {
        // The process, the branches down to its children, and its own.
        let mut open = vec![(root, String::new(), String::new())];
        while let Some((place, below, branch)) = open.pop() {
            if std::mem::replace(&mut self.is_drawn[place], true) {
                continue;
            }
            let process = &self.tree[place];
            self.lines.push(Drawn { branch, process });
            let children = self.children.remove(&process.pid).unwrap_or_default();
            let is_deep = below.chars().count() >= 2 * LEVELS_MAX;
            let (go_on, end) = if is_deep { ("", "") } else { ("│ ", "  ") };
            for (nth, child) in children.iter().enumerate().rev() {
                let is_last = nth + 1 == children.len();
                let (step, mark) = if is_last {
                    (end, "└ ")
                } else {
                    (go_on, "├ ")
                };
                open.push((*child, format!("{below}{step}"), format!("{below}{mark}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(of: &[(u32, u32)]) -> Vec<SnapshotProcess> {
        let process = |&(pid, parent): &(u32, u32)| SnapshotProcess {
            pid,
            parent,
            ..SnapshotProcess::default()
        };
        of.iter().map(process).collect()
    }

    fn lines(of: &[(u32, u32)]) -> Vec<String> {
        let tree = tree(of);
        let lines = drawn(&tree).into_iter();
        lines
            .map(|line| format!("{}{}", line.branch, line.process.pid))
            .collect()
    }

    #[test]
    fn each_process_stands_below_its_parent_wherever_it_was_listed() {
        assert_eq!(
            lines(&[(1, 0), (2, 1), (5, 1), (3, 2), (4, 2)]),
            ["1", "├ 2", "│ ├ 3", "│ └ 4", "└ 5"]
        );
        assert_eq!(lines(&[(7, 1), (9, 8)]), ["7", "9"], "two roots");
    }

    #[test]
    fn a_program_is_shown_without_the_way_to_it() {
        let program = |command: &str| {
            let process = SnapshotProcess {
                command: command.to_owned(),
                ..SnapshotProcess::default()
            };
            drawn(&[process])[0].program().to_owned()
        };
        assert_eq!(program("/root/.pyenv/bin/python3"), "python3");
        assert_eq!(
            (program("sh"), program("odd/")),
            ("sh".to_owned(), "odd/".to_owned())
        );
    }

    #[test]
    fn numbers_that_cannot_be_lose_no_process_and_end() {
        assert_eq!(lines(&[(1, 2), (2, 1), (3, 3)]), ["3", "1", "└ 2"]);
        assert_eq!(lines(&[(1, 0), (1, 0), (2, 1)]), ["1", "└ 2", "1"]);
        let deep: Vec<(u32, u32)> = (1..=2000).map(|pid| (pid, pid - 1)).collect();
        let longest = lines(&deep).iter().map(String::len).max().unwrap();
        assert_eq!(lines(&deep).len(), 2000);
        assert!(longest < 100, "{longest}");
    }
}
