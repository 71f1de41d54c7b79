//! Stories of the log and its ways out.

use super::*;
use std::io::Read;

const NOWHERE: Destination = Destination {
    file: None,
    usual_file: None,
    has_no_stderr: false,
    awaits_agent: false,
};

fn log(lines: &LogWriter, text: &str) {
    let mut line = LineWriter {
        to: lines.clone(),
        level: Level::WARN,
    };
    line.write_all(format!(" WARN {text}\n").as_bytes())
        .unwrap();
}

fn read(mut reader: impl Read) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_log_without_a_reader_delays_no_caller_and_counts_what_it_lost() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let lines = LogWriter::start_to(writer, NOWHERE).unwrap();
    // More than the pipe and the queue take together.
    for _ in 0..LINES_MAX + 128 {
        log(&lines, &"x".repeat(1023));
    }
    // The thread may have taken the count already: only the pipe says it for certain.
    drop(lines);

    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert!(text.contains("log lines could not be written"));
}

#[test]
fn the_last_lines_are_written_before_the_end() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let lines = LogWriter::start_to(writer, NOWHERE).unwrap();
    log(&lines, "the end");
    lines.finish(true);
    let mut text = [0; 14];
    reader.read_exact(&mut text).unwrap();
    assert_eq!(&text, b" WARN the end\n");
}

#[test]
fn while_the_screen_is_the_agents_lines_go_to_the_file_and_one_sums_up_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hb/a.log");
    let (reader, writer) = std::io::pipe().unwrap();
    let to = Destination {
        usual_file: Some(path.clone()),
        ..NOWHERE
    };
    let lines = LogWriter::start_to(writer, to).unwrap();
    log(&lines, "before");
    lines.wait();
    assert!(!path.exists(), "a file that nothing needs");
    lines.shared.set_screen(Screen::Agents);
    log(&lines, "during");
    log(&lines, "again");
    let now = clock::now();
    assert_eq!(lines.unseen(now).as_deref(), Some("again"));
    assert_eq!(lines.unseen(now + SHOWN_FOR + SHOWN_FOR), None);
    lines.wait();
    lines.finish(true);
    drop(lines);
    let screen = read(reader);
    let sum = format!(
        "hbsidecar: 2 warnings while the agent had the terminal, the last: again; see {}\n",
        path.display()
    );
    assert_eq!(screen, format!(" WARN before\n{sum}"));
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        " WARN during\n WARN again\n"
    );
}

#[test]
fn the_usual_file_of_a_run_that_ended_well_stays_only_where_a_line_refers_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hb/a.log");
    for (ended_well, level, stays) in [
        (true, Level::INFO, false),
        (true, Level::WARN, true),
        (false, Level::INFO, true),
    ] {
        let (_reader, writer) = std::io::pipe().unwrap();
        let to = Destination {
            usual_file: Some(path.clone()),
            ..NOWHERE
        };
        let lines = LogWriter::start_to(writer, to).unwrap();
        lines.shared.set_screen(Screen::Agents);
        lines.take(b"a line\n", level);
        lines.finish(ended_well);
        assert_eq!(path.exists(), stays, "{ended_well} {level}");
    }
}

#[test]
fn lines_from_before_the_start_are_shown_only_when_no_agent_starts() {
    let dir = tempfile::tempdir().unwrap();
    for (starts, shown) in [(true, "hbsidecar: 1 warning"), (false, " WARN taken\n")] {
        let (reader, writer) = std::io::pipe().unwrap();
        let to = Destination {
            usual_file: Some(dir.path().join(format!("hb/{starts}.log"))),
            ..NOWHERE
        };
        let lines = LogWriter::start_to(writer, to).unwrap();
        lines.shared.set_screen(Screen::Undecided);
        log(&lines, "taken");
        lines.wait();
        if starts {
            lines.shared.set_screen(Screen::Agents);
        }
        lines.finish(true);
        drop(lines);
        let screen = read(reader);
        assert!(
            screen.starts_with(shown) && screen.lines().count() == 1,
            "{screen}"
        );
    }
}

#[test]
fn a_screen_of_the_agent_gets_nothing_although_there_is_no_file() {
    let (reader, writer) = std::io::pipe().unwrap();
    let to = Destination {
        usual_file: Some("/proc/no/such/place".into()),
        ..NOWHERE
    };
    let lines = LogWriter::start_to(writer, to).unwrap();
    lines.shared.set_screen(Screen::Agents);
    log(&lines, "lost");
    lines.wait();
    drop(lines);
    assert_eq!(read(reader), "");
}

#[test]
fn a_named_file_takes_every_line_and_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hb.log");
    let (reader, writer) = std::io::pipe().unwrap();
    let to = Destination {
        file: Some(path.clone()),
        ..NOWHERE
    };
    let lines = LogWriter::start_to(writer, to).unwrap();
    log(&lines, "one");
    lines.wait();
    std::fs::rename(&path, dir.path().join("hb.log.1")).unwrap();
    log(&lines, "two");
    lines.wait();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), " WARN two\n");
    drop(lines);
    assert_eq!(read(reader), "");
}

#[test]
fn the_usual_file_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("hb/a.log");
    let mut file = LogFile::usual(path.clone());
    for _ in 0..1100 {
        file.write(&[b'x'; 1024]).unwrap();
    }
    let former = path.with_extension("log.1");
    let sizes = [&path, &former].map(|path| std::fs::metadata(path).unwrap().len());
    assert!(sizes.iter().all(|size| *size < 600 * 1024), "{sizes:?}");
}
