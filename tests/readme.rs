//! What README shows is true: lines are run as they stand there, as agents of the real hbsidecar; settings are the programs'.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(
    clippy::panic,
    reason = "a language without an interpreter is a mistake"
)]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

mod support;

use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use support::fleet::Fleet;
use support::{clean, program};

const README: &str = include_str!("../README.md");

/// The fenced blocks of the section: language and text.
fn shown() -> Vec<(&'static str, &'static str)> {
    let section = README.split("\n## What an agent may say\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("\n```").skip(1).step_by(2);
    blocks.filter_map(|block| block.split_once('\n')).collect()
}

/// The words that run a text of this language.
fn words(language: &str, text: &str, directory: &Path) -> Vec<String> {
    let interpreter: &[&str] = match language {
        "sh" => &["sh", "-c"],
        "python" => &["python3", "-c"],
        "js" => &["node", "-e"],
        "perl" => &["perl", "-e"],
        "ruby" => &["ruby", "-e"],
        "c" => {
            let (source, program) = (directory.join("agent.c"), directory.join("agent"));
            std::fs::write(&source, text).unwrap();
            let mut cc = Command::new("cc");
            cc.args(["-Wall", "-Werror", "-o"])
                .arg(&program)
                .arg(source);
            assert!(cc.status().unwrap().success());
            return vec![program.to_str().unwrap().to_owned()];
        }
        other => panic!("no interpreter for {other}"),
    };
    let words = interpreter.iter().copied().chain([text]);
    words.map(str::to_owned).collect()
}

#[test]
fn every_line_that_is_shown_is_in_the_beat_of_the_agent_that_says_it() {
    let fleet = Fleet::start();
    let (mut languages, mut programs) = (BTreeSet::new(), BTreeSet::new());
    for (number, (language, text)) in shown().into_iter().enumerate() {
        let id = format!("{language}-{number}");
        let status = fleet.path(&id);
        let words = words(language, text, fleet.place.path());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let flags = ["--status-file", status.to_str().unwrap()];
        let mut agent = fleet.agent(&id, &flags, &words);
        assert_eq!(agent.0.exit_code(), Some(0), "{text}");
        let said = json!({"lastTask": "build", "lastTaskProgress": 10.0, "state": "stopped"});
        fleet.tells(&id, &said);
        languages.insert(language);
        programs.extend(text.split_whitespace().next());
    }
    let all = ["c", "js", "perl", "python", "ruby", "sh"];
    assert_eq!(languages.into_iter().collect::<Vec<_>>(), all);
    for program in ["hbsidecar", "systemd-notify"] {
        assert!(programs.contains(program), "{program} is not shown");
    }
}

/// What a program's help says of each flag, in one line.
fn flags(of: &str) -> Vec<(String, String)> {
    let help = clean(&program(of)).arg("--help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let mut flags: Vec<(String, String)> = Vec::new();
    for line in help.lines() {
        let flag = line.split_whitespace().find(|word| word.starts_with("--"));
        let is_flag = line.trim_start().starts_with('-') && line.starts_with("  ");
        match (flag.filter(|_| is_flag), flags.last_mut()) {
            (Some(flag), _) => {
                let flag = flag.trim_end_matches([',', '.']);
                flags.push((flag.to_owned(), line.to_owned()));
            }
            (None, Some((_, text))) => *text += line,
            (None, None) => {}
        }
    }
    flags.retain(|(flag, _)| !["--help", "--version"].contains(&flag.as_str()));
    assert!(flags.len() > 4, "{of}: {flags:?}");
    flags
}

/// A word that help gives in brackets: of the environment, or a default.
fn told<'a>(text: &'a str, what: &str) -> Option<&'a str> {
    let told = text
        .split(&format!("[{what}: "))
        .nth(1)?
        .split(']')
        .next()?;
    let word = told.split([',', '=']).next()?;
    (!word.contains(' ')).then_some(word)
}

fn untold(of: &str, readme: &str) -> Vec<String> {
    let table = readme.split(&format!("\n| {of} | environment |")).nth(1);
    let table = table.unwrap().split("\n\n").next().unwrap();
    let missing = |(flag, text): (String, String)| {
        let flag = format!("`{flag}`");
        let Some(row) = table.lines().find(|row| row.contains(&flag)) else {
            return Some(format!("{of}: {flag} is not in the table"));
        };
        let words = ["env", "default"].map(|what| told(&text, what));
        let word = words
            .into_iter()
            .flatten()
            .find(|word| !row.contains(&format!("`{word}`")))?;
        Some(format!("{of}: {flag} does not tell of {word}"))
    };
    flags(of).into_iter().filter_map(missing).collect()
}

#[test]
fn every_flag_stands_in_the_table_of_settings_with_its_variable_and_its_default() {
    assert_eq!(untold("hbsidecar", README), [""; 0]);
    assert_eq!(untold("hbmonitor", README), [""; 0]);
    let wrong = README
        .replace("`HB_GRACE`", "`HB_PATIENCE`")
        .replace("| `3` |", "| `4` |")
        .replace("`--keep-orphans` |", "");
    assert_eq!(untold("hbsidecar", &wrong).len(), 3, "the check can fail");
}
