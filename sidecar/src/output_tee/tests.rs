//! Stories of an agent's output, with the copier in a thread of the test.

use super::copier::Copier;
use super::*;
use crate::config::Reads;
use heartbeat::contract::line::Field;
use rustix::pipe::{PipeFlags, pipe_with};
use std::fs::File;
use std::io::{Read, Write};

const WITHIN: Duration = Duration::from_secs(60);

/// The reader, what the agent writes to, and what comes out.
fn tee(reads: Reads) -> (Tee, File, File) {
    let (out, to) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    let split = |copier: Copier| {
        std::thread::spawn(move || copier.run());
        Ok(())
    };
    let outputs = Outputs::open(vec![(1, to)], split).unwrap().unwrap();
    let (tee, AgentsEnds(mut ends)) = Tee::start(outputs, reads).unwrap();
    let (agents, _) = ends.pop().unwrap();
    (tee, File::from(agents), File::from(out))
}

async fn next(tee: &mut Tee) -> OutputLine {
    tokio::time::timeout(WITHIN, tee.lines.recv())
        .await
        .expect("nothing was read")
        .unwrap()
}

#[tokio::test]
async fn every_byte_goes_on_unchanged_whatever_it_is() {
    let (_tee, mut agent, mut out) = tee(Reads::Events);
    let bytes: Vec<u8> = (0..8_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || agent.write_all(&sent).unwrap());
    let mut got = Vec::new();
    out.read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    assert!(got == bytes);
}

#[tokio::test]
async fn events_are_told_beside_the_copy() {
    let (mut tee, mut agent, mut out) = tee(Reads::Events);
    let event = "{\"type\":\"system\",\"subtype\":\"init\"}\nplain text\n";
    agent.write_all(event.as_bytes()).unwrap();
    assert!(next(&mut tee).await.line.ready);
    let mut got = vec![0; event.len()];
    out.read_exact(&mut got).unwrap();
    assert_eq!(got, event.as_bytes());
}

#[tokio::test]
async fn a_pattern_reads_ordinary_lines_and_progress_bars() {
    let (mut tee, mut agent, _out) =
        tee(Reads::pattern(r"(?P<task>\w+) *(?P<progress>\d+)%").unwrap());
    agent
        .write_all(b"warming up\nindex   7%\rindex   7%\rindex 150%\r")
        .unwrap();
    let line = next(&mut tee).await;
    assert_eq!(
        (line.raw.as_str(), line.line.progress),
        ("progress=7 task=index", Field::Set(7.0))
    );
    tokio::time::sleep(Duration::from_millis(1050)).await;
    agent.write_all(b"index 8%\n").unwrap();
    assert_eq!(
        next(&mut tee).await.line.progress,
        Field::Set(8.0),
        "150 % is no progress, 7 % no news"
    );
}

#[tokio::test]
async fn the_last_of_many_values_is_not_lost() {
    let (mut tee, mut agent, _out) = tee(Reads::pattern("(?P<progress>[0-9]+) of 100").unwrap());
    for n in 0..=100 {
        writeln!(agent, "{n} of 100").unwrap();
    }
    drop(agent);
    let mut last = None;
    while let Some(line) = tokio::time::timeout(WITHIN, tee.lines.recv())
        .await
        .unwrap()
    {
        last = Some(line.line.progress);
    }
    assert_eq!(last, Some(Field::Set(100.0)));
}

#[test]
fn a_pattern_that_tells_nothing_is_refused() {
    assert!(
        Reads::pattern("[0-9]+")
            .unwrap_err()
            .to_string()
            .contains("(?P<progress>")
    );
    assert!(
        Reads::pattern("(")
            .unwrap_err()
            .to_string()
            .contains("regular expression")
    );
}

#[tokio::test]
async fn an_agent_whose_reader_is_gone_is_told_so() {
    let (_tee, mut agent, out) = tee(Reads::Events);
    drop(out);
    let start = std::time::Instant::now();
    while agent.write_all(&[b'x'; 4096]).is_ok() {
        assert!(
            start.elapsed() < WITHIN,
            "it continues to write without a reader"
        );
    }
}

#[tokio::test]
async fn an_orphan_that_keeps_the_output_holds_up_nobody_and_still_prints() {
    let (tee, mut agent, mut out) = tee(Reads::Events);
    agent.write_all(b"last words\n").unwrap();
    let start = std::time::Instant::now();
    tee.caught_up(WITHIN).await;
    drop(tee);
    assert!(start.elapsed() < WITHIN / 2, "{:?}", start.elapsed());
    agent.write_all(b"and more\n").unwrap();
    drop(agent);
    let mut got = Vec::new();
    out.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"last words\nand more\n");
}

#[tokio::test]
async fn a_reader_that_does_not_read_holds_up_nobody_else() {
    let (tee, mut agent, _out) = tee(Reads::Events);
    agent.write_all(&[b'x'; 500_000]).unwrap();
    let start = std::time::Instant::now();
    tee.caught_up(Duration::from_millis(100)).await;
    assert!(start.elapsed() < WITHIN / 2, "{:?}", start.elapsed());
}
