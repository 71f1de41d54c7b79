//! Too much of everything at once.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test]
async fn ten_megabytes_without_an_end_are_one_error_and_no_memory() {
    if !is_alone("floods::ten_megabytes_without_an_end_are_one_error_and_no_memory") {
        return;
    }
    let (mut contract, _directory) = opened();
    let mut agent = connect(&contract).await;
    let before = memory_kb();
    for _ in 0..160 {
        agent.write_all(&[b'x'; 64 * 1024]).await.unwrap();
    }
    agent.write_all(b"\nprogress=1\n").await.unwrap();
    assert_eq!(progress(&next(&mut contract).await), 1.0);
    assert_eq!(
        (contract.counts().refused, contract.counts().excess),
        (1, 0)
    );
    let grown = memory_kb().saturating_sub(before);
    assert!(grown < 6144, "{grown} KiB more");
}

#[tokio::test]
async fn a_million_lines_hold_up_neither_the_agent_nor_the_hub() {
    if !is_alone("floods::a_million_lines_hold_up_neither_the_agent_nor_the_hub") {
        return;
    }
    let (mut contract, _directory) = opened();
    let path = contract.socket().unwrap().to_owned();
    let before = memory_kb();
    let agent = std::thread::spawn(move || {
        use std::io::Write;
        let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        let block = "progress=1 step=xyz\n".repeat(1000);
        let start = Instant::now();
        for _ in 0..1000 {
            stream.write_all(block.as_bytes()).unwrap();
        }
        stream.write_all(b"error=\n").unwrap();
        start.elapsed()
    });
    // What a thread suffers that only sleeps is the machine's doing.
    let over = Arc::new(AtomicBool::new(false));
    let idle = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let mut latest = Duration::ZERO;
            while !over.load(Ordering::Relaxed) {
                let due = Instant::now() + Duration::from_millis(5);
                std::thread::sleep(Duration::from_millis(5));
                latest = latest.max(Instant::now().saturating_duration_since(due));
            }
            latest
        }
    });
    // The hub: it takes lines, and its timer must not be late.
    let (mut taken, mut latest, start) = (0, Duration::ZERO, Instant::now());
    while !agent.is_finished() || contract.counts().excess + contract.counts().taken < 1_000_000 {
        assert!(start.elapsed() < WITHIN * 3, "{:?}", contract.counts());
        let due = Instant::now() + Duration::from_millis(5);
        tokio::select! {
            biased;
            Some(_) = contract.lines.recv() => taken += 1,
            () = tokio::time::sleep(Duration::from_millis(5)) => {
                latest = latest.max(Instant::now().saturating_duration_since(due));
            }
        }
    }
    let spent = agent.join().unwrap();
    over.store(true, Ordering::Relaxed);
    let machine = idle.join().unwrap();
    let seconds = start.elapsed().as_secs() + 1;
    let counts = contract.counts();
    println!("the agent took {spent:?}, the hub's timer was at most {latest:?} late, {counts:?}");
    assert!(
        taken <= 50 * seconds && taken >= 50,
        "{taken} in {seconds} s"
    );
    assert_eq!(counts.taken, taken);
    assert!(
        latest < machine + Duration::from_millis(250),
        "{latest:?}, {machine:?} beside it"
    );
    let grown = memory_kb().saturating_sub(before);
    assert!(grown < 6144, "{grown} KiB more");
}

#[tokio::test]
async fn a_flood_is_told_once_and_ends_with_the_second() {
    let (mut contract, _directory) = opened();
    let mut agent = connect(&contract).await;
    agent
        .write_all("progress=1\n".repeat(500).as_bytes())
        .await
        .unwrap();
    assert!(
        answer(&mut agent)
            .await
            .contains("more than 50 lines a second")
    );
    until(|| contract.counts().excess > 0).await;
    while contract.lines.try_recv().is_ok() {}
    // A line is taken again once the second of the flood is over.
    until_taken(&mut contract, 99.0, async || {
        agent.write_all(b"progress=99\n").await.unwrap();
    })
    .await;
    agent.write_all(b"wrong\n").await.unwrap();
    let error = answer(&mut agent).await;
    assert!(
        error.contains("wrong"),
        "one answer for the flood, not {error}"
    );
}

#[tokio::test]
async fn a_thousand_idle_connections_do_not_keep_a_new_one_out() {
    let (mut contract, _directory) = opened();
    let mut diligent = connect(&contract).await;
    let mut idle = Vec::new();
    for n in 0..1000 {
        idle.push(connect(&contract).await);
        if n % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(25)).await; // below the limit of lines
            diligent.write_all(b"watchdog=1\n").await.unwrap();
            next(&mut contract).await;
        }
    }
    let mut new = connect(&contract).await;
    new.write_all(b"progress=3\n").await.unwrap();
    assert_eq!(progress(&next(&mut contract).await), 3.0);
    diligent.write_all(b"progress=4\n").await.unwrap();
    assert_eq!(progress(&next(&mut contract).await), 4.0);
    assert_eq!(
        contract.counts().crowded_out,
        1002 - super::super::stream::CONNECTIONS_MAX as u64
    );
    assert!(answer(&mut idle[0]).await.contains("too many connections"));
}
