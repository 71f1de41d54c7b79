//! The status file, however it is written.

use super::*;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

struct Followed {
    contract: Contract,
    path: PathBuf,
    directory: tempfile::TempDir,
}

fn followed(prepare: impl FnOnce(&Path)) -> Followed {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("status");
    prepare(&path);
    let status_file = Some(path.clone());
    let contract = Contract::open(Settings {
        status_file,
        ..settings(directory.path())
    })
    .unwrap();
    Followed {
        contract,
        path,
        directory,
    }
}

impl Followed {
    async fn progress(&mut self) -> f64 {
        progress(&next(&mut self.contract).await)
    }

    fn append(&self, text: &str) {
        append(&self.path, text);
    }

    fn replace(&self, text: &str) {
        let new = self.directory.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, &self.path).unwrap();
    }
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn what_is_appended_is_taken_once() {
    let mut agent = followed(|_| {});
    agent.append("progress=1\n");
    assert_eq!(agent.progress().await, 1.0);
    agent.append("progress=2\nprogress=3\n");
    assert_eq!((agent.progress().await, agent.progress().await), (2.0, 3.0));
    assert_eq!(agent.contract.counts().taken, 3);
}

#[tokio::test]
async fn a_file_that_is_rewritten_is_read_again() {
    let mut agent = followed(|_| {});
    for progress in [10, 11, 9, 100] {
        fs::write(&agent.path, format!("progress={progress}\n")).unwrap();
        assert_eq!(agent.progress().await, f64::from(progress));
    }
}

#[tokio::test]
async fn a_rewritten_line_needs_no_end_once_it_has_settled() {
    let mut agent = followed(|_| {});
    fs::write(&agent.path, r#"{"progress":41}"#).unwrap();
    assert_eq!(agent.progress().await, 41.0);
    fs::write(&agent.path, r#"{"progress":42}"#).unwrap();
    assert_eq!(agent.progress().await, 42.0);
    agent.append("\nprogress=43\n");
    assert_eq!(agent.progress().await, 43.0);
    assert_eq!(
        agent.contract.counts().taken,
        3,
        "its late end does not repeat the line"
    );
}

#[tokio::test]
async fn half_a_line_is_not_taken_for_a_whole_one() {
    loop {
        let mut agent = followed(|_| {});
        let start = Instant::now();
        agent.append("progress=4");
        agent.append("2\n");
        // What nothing follows for 250 ms counts as whole, and a busy machine may delay the rest.
        if start.elapsed() < Duration::from_millis(150) {
            assert_eq!(agent.progress().await, 42.0);
            return;
        }
    }
}

#[tokio::test]
async fn a_file_that_is_replaced_by_rename_is_followed() {
    let mut agent = followed(|path| fs::write(path, "progress=1\n").unwrap());
    for progress in [2, 3, 4] {
        agent.replace(&format!("progress={progress}\n"));
        assert_eq!(agent.progress().await, f64::from(progress));
    }
}

#[tokio::test]
async fn a_file_that_is_rotated_loses_no_line() {
    let mut agent = followed(|_| {});
    agent.append("progress=1\n");
    assert_eq!(agent.progress().await, 1.0);
    agent.append("progress=2\n");
    fs::rename(&agent.path, agent.directory.path().join("status.1")).unwrap();
    agent.append("progress=3\n");
    assert_eq!((agent.progress().await, agent.progress().await), (2.0, 3.0));
}

#[tokio::test]
async fn a_file_that_is_truncated_starts_again() {
    let mut agent = followed(|_| {});
    agent.append("step=aaaaaaaaaaaaaaaaaaaaaaaa progress=1\n");
    assert_eq!(agent.progress().await, 1.0);
    fs::File::create(&agent.path).unwrap();
    agent.append("progress=2\n");
    assert_eq!(agent.progress().await, 2.0);
}

#[tokio::test]
async fn what_an_earlier_incarnation_left_is_not_the_agents_word() {
    let mut agent = followed(|path| fs::write(path, "progress=77\n").unwrap());
    agent.append("progress=1\n");
    assert_eq!(agent.progress().await, 1.0);
}

#[tokio::test]
async fn the_same_text_written_by_a_new_incarnation_is_news() {
    let mut agent = followed(|path| fs::write(path, "progress=77\n").unwrap());
    fs::write(&agent.path, "progress=77\n").unwrap();
    assert_eq!(agent.progress().await, 77.0);
    agent.contract.new_incarnation();
    fs::write(&agent.path, "progress=77\n").unwrap();
    assert_eq!(agent.progress().await, 77.0);
}

#[tokio::test]
async fn a_cut_off_object_is_refused_and_the_last_good_value_stays() {
    let mut agent = followed(|_| {});
    fs::write(&agent.path, r#"{"progress":4"#).unwrap();
    until(|| agent.contract.counts().refused == 1).await;
    fs::write(&agent.path, r#"{"progress":44}"#).unwrap();
    assert_eq!(agent.progress().await, 44.0);
    assert_eq!(agent.contract.counts().taken, 1);
}

#[tokio::test]
async fn a_directory_a_pipe_and_a_loop_are_said_and_a_file_in_their_place_is_read() {
    type Prepare = fn(&Path);
    let cases: [(&str, Prepare, Prepare); 3] = [
        (
            "directory",
            |path| fs::create_dir(path).unwrap(),
            |path| fs::remove_dir(path).unwrap(),
        ),
        (
            "pipe",
            |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            |path| fs::remove_file(path).unwrap(),
        ),
        (
            "loop",
            |path| std::os::unix::fs::symlink(path, path).unwrap(),
            |path| fs::remove_file(path).unwrap(),
        ),
    ];
    for (name, prepare, remove) in cases {
        let mut agent = followed(prepare);
        tokio::time::sleep(Duration::from_millis(50)).await;
        remove(&agent.path);
        agent.append("progress=5\n");
        assert_eq!(agent.progress().await, 5.0, "after a {name}");
    }
}

#[tokio::test]
async fn a_directory_that_comes_later_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let late = directory.path().join("late");
    let status_file = Some(late.join("status"));
    let contract = Contract::open(Settings {
        status_file,
        ..settings(directory.path())
    });
    let mut contract = contract.unwrap();
    fs::create_dir(&late).unwrap();
    fs::write(late.join("status"), "progress=6\n").unwrap();
    assert_eq!(progress(&next(&mut contract).await), 6.0);
}

#[tokio::test]
async fn a_file_behind_a_link_is_followed() {
    let mut agent = followed(|path| {
        let behind = path.with_file_name("behind");
        fs::write(&behind, "").unwrap();
        std::os::unix::fs::symlink(behind, path).unwrap();
    });
    agent.append("progress=1\n");
    assert_eq!(agent.progress().await, 1.0);
    fs::write(agent.path.with_file_name("other"), "progress=2\n").unwrap();
    std::os::unix::fs::symlink("other", agent.path.with_file_name("link")).unwrap();
    fs::rename(agent.path.with_file_name("link"), &agent.path).unwrap();
    assert_eq!(agent.progress().await, 2.0);
}

#[tokio::test]
async fn a_hundred_megabytes_at_once_are_read_from_their_end() {
    if !is_alone("files::a_hundred_megabytes_at_once_are_read_from_their_end") {
        return;
    }
    let mut agent = followed(|_| {});
    agent.append("progress=1\n");
    assert_eq!(agent.progress().await, 1.0);
    let before = memory_kb();
    let block = "step=x\n".repeat(100_000);
    let new = agent.directory.path().join("new");
    let mut file = fs::File::create(&new).unwrap();
    for _ in 0..143 {
        file.write_all(block.as_bytes()).unwrap();
    }
    fs::rename(new, &agent.path).unwrap();
    until(|| agent.contract.counts().excess > 1000).await;
    while agent.contract.lines.try_recv().is_ok() {}
    let path = agent.path.clone();
    until_taken(&mut agent.contract, 2.0, async || {
        append(&path, "progress=2\n")
    })
    .await;
    let grown = memory_kb().saturating_sub(before);
    assert!(grown < 6144, "{grown} KiB more");
}

#[tokio::test]
async fn a_line_without_an_end_in_a_file_holds_no_memory_and_is_told_once() {
    let mut agent = followed(|_| {});
    for _ in 0..50 {
        agent.append(&"x".repeat(20_000));
    }
    until(|| agent.contract.counts().refused >= 1).await;
    agent.append("\nprogress=3\n");
    assert_eq!(agent.progress().await, 3.0);
    assert_eq!(agent.contract.counts().refused, 1);
}
