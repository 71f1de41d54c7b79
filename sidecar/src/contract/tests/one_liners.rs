//! The lines that people are shown, run as they stand there.

use super::*;
use std::process::{Command, Stdio};

const SHOWN: &str = include_str!("../../../../docs/contract.md");

/// Every fenced block of a language that has an interpreter.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let section = SHOWN.split("\n## Send a status line\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    section
        .split("\n```")
        .skip(1)
        .step_by(2)
        .filter_map(|block| block.split_once('\n'))
        .collect()
}

fn command(language: &str, text: &str, directory: &Path) -> Command {
    let (program, flag) = match language {
        "sh" => ("sh", "-c"),
        "python" => ("python3", "-c"),
        "js" => ("node", "-e"),
        "perl" => ("perl", "-e"),
        "ruby" => ("ruby", "-e"),
        "c" => {
            std::fs::write(directory.join("agent.c"), text).unwrap();
            let compiled = Command::new("cc")
                .args(["-Wall", "-Werror", "-o", "agent", "agent.c"])
                .current_dir(directory)
                .status();
            assert!(compiled.unwrap().success());
            return Command::new(directory.join("agent"));
        }
        other => panic!("no interpreter for {other}"),
    };
    let mut command = Command::new(program);
    command.args([flag, text]);
    command
}

#[tokio::test]
async fn every_line_that_is_shown_works_as_it_stands() {
    let mut languages = std::collections::BTreeSet::new();
    for (language, text) in blocks() {
        if text.starts_with("hbsidecar ") {
            continue; // tests/readme.rs runs them all, with the program itself
        }
        let directory = tempfile::tempdir().unwrap();
        let status_file = Some(directory.path().join("status"));
        let mut contract = Contract::open(Settings {
            status_file,
            ..settings(directory.path())
        })
        .unwrap();
        let mut agent = command(language, text, directory.path())
            .envs(contract.environment())
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{language}: {error}; scripts/test-deps installs it"));
        let line = next(&mut contract).await;
        assert_eq!(
            (&line.line.task, progress(&line)),
            (&Field::Set("build".into()), 10.0),
            "{text}"
        );
        let start = Instant::now();
        while agent.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < WITHIN, "it does not end: {text}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        assert!(agent.wait().unwrap().success(), "{text}");
        languages.insert(language);
    }
    assert_eq!(
        languages.into_iter().collect::<Vec<_>>(),
        ["c", "js", "perl", "python", "ruby", "sh"]
    );
}
