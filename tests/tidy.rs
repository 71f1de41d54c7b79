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
    [
        "src",
        "shell/src",
        "store/src",
        "sidecar/src",
        "monitor/src",
    ]
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
        ["imbl", "regex-lite", "serde", "serde_json", "thiserror"]
    );
}

#[test]
fn programs_never_import_each_other_and_the_shell_imports_neither() {
    for (manifest, other) in [
        ("sidecar", "hbmonitor"),
        ("sidecar", "hbstore"),
        ("monitor", "hbsidecar"),
        ("shell", "hbmonitor"),
        ("shell", "hbsidecar"),
        ("shell", "hbstore"),
        ("store", "hbshell"),
    ] {
        let text = read(&root().join(manifest).join("Cargo.toml")).text;
        assert!(
            !dependencies(&text).contains(&other),
            "{manifest} depends on {other}"
        );
    }
}

/// The rooms of the core, and which others each may import.
const ARROWS: [(&str, &[&str]); 7] = [
    ("base", &[]),
    ("wire", &["base"]),
    ("contract", &["base", "wire"]),
    ("verdict", &["base", "wire"]),
    ("supervise", &["base", "wire", "verdict"]),
    ("fleet", &["base", "wire"]),
    ("alerts", &["base", "wire"]),
];

/// Every path `crate::ROOM`, in imports and in the middle of a line, that points to a room which is not allowed.
fn upward(source: &Source) -> Vec<String> {
    let Some((room, allowed)) = ARROWS.iter().find(|(room, _)| of_room(source) == *room) else {
        return Vec::new();
    };
    let mut faults = Vec::new();
    for (n, line) in code(&source.text) {
        for path in line.split("crate::").skip(1) {
            let other = path
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next();
            let other = other.unwrap_or_default();
            let known = ARROWS.iter().any(|(room, _)| *room == other);
            if other == *room || allowed.contains(&other) {
                continue;
            }
            // `crate::{wire::…}` would hide the room.
            if known || other.is_empty() {
                faults.push(format!("{}:{n}: {room} imports {other}", source.path));
            }
        }
    }
    faults
}

fn of_room(source: &Source) -> &str {
    let path = source.path.strip_prefix("src/").unwrap_or("");
    path.split(['/', '.']).next().unwrap_or("")
}

#[test]
fn rooms_of_the_core_import_only_what_stands_before_them() {
    none(sources("src").iter().flat_map(upward).collect());
    for (path, text, faults) in [
        ("src/wire/event.rs", "use crate::verdict::Judgement;", 1),
        ("src/base/id.rs", "let x = crate::wire::keys::agent(id);", 1),
        ("src/fleet/agent.rs", "use crate::{verdict::Judgement};", 1),
        ("src/fleet/agent.rs", "use crate::wire::beat::Beat;", 0),
    ] {
        let planted = Source {
            path: path.into(),
            text: text.into(),
        };
        assert_eq!(upward(&planted).len(), faults, "the check can fail: {text}");
    }
}

/// What all rooms of a program may import: its vocabulary.
const VOCABULARY: [&str; 5] = ["clock", "config", "token", "wake", "process::handle"];

/// Imports of siblings, by a room that is no hub.
fn neighbourly(source: &Source, hubs: &[&str]) -> Vec<String> {
    let file = source.path.split("/src/").nth(1).unwrap();
    let room = file.split(['/', '.']).next().unwrap();
    if hubs.iter().any(|hub| file.starts_with(hub)) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (n, line) in code(&source.text) {
        for path in line.split("crate::").skip(1) {
            let sibling = path
                .split([':', ';', ' ', '(', '}'])
                .next()
                .unwrap_or_default();
            let known = sibling == room || VOCABULARY.iter().any(|word| path.starts_with(word));
            // The command line is made of those of the other commands.
            let commands = ["commands", "cli"].contains(&sibling);
            let known = known || (room == "config" && commands);
            if !known {
                faults.push(format!(
                    "{}:{n}: a room imports its sibling {sibling}",
                    source.path
                ));
            }
        }
    }
    faults
}

#[test]
fn rooms_never_import_siblings() {
    // A diagnosis is a small hub of its own: a sample in, a verdict out, once.
    let hubs = ["main", "lib", "hub", "commands/diagnose"];
    let sidecar = sources("sidecar/src");
    none(sidecar.iter().flat_map(|s| neighbourly(s, &hubs)).collect());
    // The API shows what the bus counts: it hands it plain values.
    let hubs = ["main", "lib", "hub", "demo", "http"];
    let monitor = sources("monitor/src");
    none(monitor.iter().flat_map(|s| neighbourly(s, &hubs)).collect());
    let planted = Source {
        path: "sidecar/src/process/child.rs".into(),
        text: "let x = crate::outbox::X;".into(),
    };
    assert_eq!(
        neighbourly(&planted, &["hub"]).len(),
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

/// Words of a private dialect: the trade has a plain one for each (the monitor receives, reports, samples, retries).
const DENIED: [&str; 11] = [
    "told", "heard", "whoever", "whom", "nobody", "somebody", "for ever", "anew", "shall",
    "is said", "are said",
];

/// Where such a word is meant literally: file and word.
const LITERAL: [(&str, &str); 3] = [
    // The headline of an empty fleet, the same on page and terminal.
    ("src/fleet/overview.rs", "heard"),
    ("monitor/src/http/pages/empty.rs", "heard"),
    ("monitor/src/cli/reads.rs", "heard"),
];

/// Each line with a denied word, as `grep -nwi` finds them: comments, texts and code.
fn dialect(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (n, line) in source.text.lines().enumerate() {
        let line = line.to_lowercase();
        for word in DENIED {
            let literal = LITERAL.contains(&(source.path.as_str(), word));
            if !literal && has_word(&line, word) {
                faults.push(format!(
                    "{}:{}: {word:?}: {}",
                    source.path,
                    n + 1,
                    line.trim()
                ));
            }
        }
    }
    faults
}

fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[test]
fn everything_a_person_reads_is_plain_english() {
    let mut texts = all();
    for page in ["README.md", "ARCHITECTURE.md"] {
        texts.push(read(&root().join(page)));
    }
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "md") {
            texts.push(read(&path));
        }
    }
    none(texts.iter().flat_map(dialect).collect());
    for (path, word) in LITERAL {
        let meant = texts.iter().find(|text| text.path == path);
        let used = meant.is_some_and(|text| has_word(&text.text.to_lowercase(), word));
        assert!(
            used,
            "{path} does not use {word:?} any more: remove it from the list"
        );
    }
    let planted = Source {
        path: "x".into(),
        text: "// Nobody is told.\nlet untold = nobody_there;".into(),
    };
    assert_eq!(dialect(&planted).len(), 2, "the check can fail");
}
