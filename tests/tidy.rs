//! The law of the tree, read from the tree: purity of the core, one hub a program, small files and functions.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::disallowed_methods, reason = "the law is read from files")]

use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

struct Source {
    path: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut dirs = vec![root().join(dir)];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(read(&path));
            }
        }
    }
    assert!(!found.is_empty(), "nothing is in {dir}");
    found
}

fn read(path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap();
    Source {
        path: path.strip_prefix(root()).unwrap().display().to_string(),
        text,
    }
}

fn all() -> Vec<Source> {
    ["src", "sidecar/src", "monitor/src"]
        .into_iter()
        .flat_map(sources)
        .collect()
}

/// Lines that are neither empty, nor comments, nor tests.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .enumerate()
        .map(|(n, line)| (n + 1, line))
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with("//"))
}

fn none(faults: Vec<String>) {
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

fn worldly(source: &Source) -> Vec<String> {
    const WORLD: [&str; 12] = [
        "tokio",
        "redis::",
        "nix::",
        "axum",
        "std::env",
        "std::process",
        "std::net",
        "std::fs",
        "std::thread",
        "Instant::now",
        "SystemTime",
        "println!",
    ];
    code(&source.text)
        .filter_map(|(n, line)| {
            let word = WORLD.iter().find(|word| line.contains(**word))?;
            Some(format!("{}:{n}: the pure core names {word}", source.path))
        })
        .collect()
}

#[test]
fn the_core_names_nothing_of_the_world() {
    none(sources("src").iter().flat_map(worldly).collect());
    let planted = Source {
        path: "x".into(),
        text: "fn f() { std::time::Instant::now(); }".into(),
    };
    assert_eq!(worldly(&planted).len(), 1, "the check can fail");
}

fn dependencies(manifest: &str) -> Vec<&str> {
    let section = manifest
        .split("\n[dependencies]\n")
        .nth(1)
        .unwrap_or_default();
    section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .collect()
}

#[test]
fn the_core_depends_on_nothing_that_acts() {
    let manifest = read(&root().join("Cargo.toml")).text;
    assert_eq!(
        dependencies(&manifest),
        ["imbl", "serde", "serde_json", "thiserror"]
    );
}

#[test]
fn sidecar_and_monitor_never_import_each_other() {
    for (manifest, other) in [("sidecar", "hbmonitor"), ("monitor", "hbsidecar")] {
        let text = read(&root().join(manifest).join("Cargo.toml")).text;
        assert!(
            !dependencies(&text).contains(&other),
            "{manifest} depends on {other}"
        );
    }
}

/// Rooms that may know others: the entrance and the hubs. `clock`, `config`, `inherited`, `process` and `wake` are vocabulary: all may know them.
fn neighbourly(source: &Source, hubs: &[&str]) -> Vec<String> {
    let room = source
        .path
        .split("/src/")
        .nth(1)
        .unwrap()
        .split(['/', '.'])
        .next()
        .unwrap();
    if hubs.contains(&room) {
        return Vec::new();
    }
    code(&source.text)
        .filter_map(|(n, line)| {
            let sibling = line
                .trim_start()
                .strip_prefix("use crate::")?
                .split([':', ';'])
                .next()?;
            // The command line is made of those of the other commands.
            let commands = ["diagnose", "hooks", "notify"];
            let known = ["clock", "config", "inherited", "process", "wake", room]
                .contains(&sibling)
                || (room == "config" && commands.contains(&sibling));
            (!known).then(|| format!("{}:{n}: a room imports its sibling {sibling}", source.path))
        })
        .collect()
}

#[test]
fn rooms_never_import_siblings() {
    let sidecar = sources("sidecar/src");
    // A diagnosis is a small hub of its own: evidence in, verdict out, once.
    none(
        sidecar
            .iter()
            .flat_map(|s| neighbourly(s, &["main", "lib", "supervise", "diagnose"]))
            .collect(),
    );
    let monitor = sources("monitor/src");
    // The dashboard shows what inbox and metrics count: both hand it plain values.
    let hubs = ["main", "lib", "watch", "demo", "dashboard"];
    none(monitor.iter().flat_map(|s| neighbourly(s, &hubs)).collect());
    let planted = Source {
        path: "sidecar/src/child.rs".into(),
        text: "use crate::outbox::X;".into(),
    };
    assert_eq!(
        neighbourly(&planted, &["supervise"]).len(),
        1,
        "the check can fail"
    );
}

#[test]
fn every_file_says_what_lives_there() {
    let silent = all()
        .into_iter()
        .filter(|s| !s.text.starts_with("//! "))
        .map(|s| s.path)
        .collect();
    none(silent);
}

#[test]
fn files_are_small() {
    let large = |s: &Source| {
        let lines = code(&s.text).count();
        (lines > FILE_LINES_MAX).then(|| format!("{}: {lines} lines", s.path))
    };
    none(all().iter().filter_map(large).collect());
}

/// Functions by indentation: rustfmt has put the closing brace under the first letter.
fn long_functions(source: &Source) -> Vec<String> {
    let lines: Vec<(usize, &str)> = code(&source.text).collect();
    let mut faults = Vec::new();
    for (at, (n, line)) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let starts = [
            "fn ",
            "pub fn ",
            "async fn ",
            "pub async fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
        ];
        if !starts
            .iter()
            .any(|start| line.trim_start().starts_with(start))
        {
            continue;
        }
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[at..]
            .iter()
            .position(|(_, line)| *line == end)
            .unwrap_or(0)
            + 1;
        if length > FUNCTION_LINES_MAX {
            faults.push(format!("{}:{n}: a function of {length} lines", source.path));
        }
    }
    faults
}

#[test]
fn functions_are_small() {
    none(all().iter().flat_map(long_functions).collect());
    let planted = Source {
        path: "x".into(),
        text: format!("fn f() {{\n{}}}\n", "    x;\n".repeat(80)),
    };
    assert_eq!(long_functions(&planted).len(), 1, "the check can fail");
}
