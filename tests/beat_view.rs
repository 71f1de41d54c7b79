//! A beat that is read in place is the beat that serde reads: the same value, or the same refusal.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

use heartbeat::base::id::AgentId;
use heartbeat::base::number::COUNT_MAX;
use heartbeat::wire::beat::view::{self, BeatView, Owned};
use heartbeat::wire::beat::{
    Activity, Beat, BeatError, Cause, Confidence, Evidence, Exit, Extension, Metrics, Runtime,
    Source, Status, Verdict,
};
use heartbeat::wire::life::{End, Life, NextStart, Phase, Reason};
use proptest::prelude::*;
use std::time::Duration;

/// Texts that need no escape, and some that do.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[ -!#-\\[\\]-~]{0,20}",
        1 => "[a-zäöß→]{0,300}",
        1 => "[\"\\\\\n\u{7f}a]{0,4}",
    ]
}

fn plain() -> impl Strategy<Value = String> {
    "[ -!#-\\[\\]-~ä]{0,20}"
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![0..10u64, 0..999_999_999_999_999u64, Just(COUNT_MAX)]
}

fn amount() -> impl Strategy<Value = f64> {
    prop_oneof![
        (0..100_000u32).prop_map(|n| f64::from(n) / 10.0),
        (0..1_000_000_000u32).prop_map(|n| f64::from(n) / 1000.0),
        0.0..1e15,
        Just(0.0),
        Just(1e-7),
    ]
}

fn status() -> impl Strategy<Value = Status> {
    prop::sample::select(vec![
        Status::Starting,
        Status::Healthy,
        Status::Degraded,
        Status::Busy,
        Status::Recovering,
        Status::Stopped,
    ])
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop::sample::select(vec![
        Verdict::Starting,
        Verdict::Working,
        Verdict::WaitingModel,
        Verdict::WaitingInput,
        Verdict::Sleeping,
        Verdict::Idle,
        Verdict::Paused,
        Verdict::Stalled,
        Verdict::Spinning,
        Verdict::Looping,
        Verdict::Hung,
        Verdict::Unknown,
    ])
}

fn evidence(words: BoxedStrategy<String>) -> impl Strategy<Value = Evidence> {
    (words.clone(), words, any::<bool>()).prop_map(|(signal, value, reported)| Evidence {
        signal,
        value,
        source: if reported {
            Source::Reported
        } else {
            Source::Observed
        },
    })
}

fn activity(words: BoxedStrategy<String>) -> impl Strategy<Value = Activity> {
    let confidence = prop::sample::select(vec![
        None,
        Some(Confidence::Proof),
        Some(Confidence::Suspicion),
        Some(Confidence::None),
    ]);
    let evidence = prop::collection::vec(evidence(words.clone()), 0..4);
    let cause = proptest::option::of("[a-z0-9-]{1,40}");
    (verdict(), count(), cause, confidence, words, evidence).prop_map(
        |(verdict, since, cause, confidence, sentence, evidence)| Activity {
            verdict,
            since,
            cause: cause.and_then(|name| Cause::parse(&name)),
            confidence,
            sentence,
            evidence,
        },
    )
}

fn exit() -> impl Strategy<Value = Exit> {
    let number = || proptest::option::of(any::<u8>());
    (number(), number()).prop_map(|(code, signal)| Exit { code, signal })
}

fn end() -> impl Strategy<Value = End> {
    let reason = proptest::option::of(prop::sample::select(vec![
        Reason::Exited,
        Reason::Killed,
        Reason::OomKilled,
        Reason::Hung,
        Reason::Operator,
    ]));
    (count(), exit(), reason, any::<bool>(), any::<bool>()).prop_map(
        |(incarnation, exit, reason, requested, not_started)| End {
            incarnation,
            exit,
            reason,
            requested,
            not_started,
        },
    )
}

fn life() -> impl Strategy<Value = Life> {
    let phase = prop::sample::select(vec![
        Phase::Running,
        Phase::Running,
        Phase::Stopping,
        Phase::Restarting,
        Phase::Waiting,
    ]);
    let rare = proptest::option::weighted(0.1, (0..1000u64, text()));
    let end = proptest::option::of(end());
    (phase, (count(), count(), count()), end, rare).prop_map(
        |(phase, (step, since, incarnation), end, rare)| Life {
            step,
            phase,
            since,
            incarnation,
            end,
            trouble: rare.as_ref().map(|_| Reason::CrashLoop),
            restart: rare.as_ref().map(|(in_ms, _)| NextStart {
                in_ms: *in_ms,
                attempt: Some((1, 3)),
            }),
            exclusive: step % 2 == 0,
            alert_only: step % 3 == 0,
            obstacle: rare.as_ref().map(|(_, text)| text.clone()),
            restarts_stalled: step % 5 == 0,
            pod_restart: step % 7 == 0,
            stall_ms: step % 7,
            waits_for: rare.map(|(_, text)| text),
        },
    )
}

fn extension(words: BoxedStrategy<String>) -> impl Strategy<Value = Extension> {
    let numbers = (
        100..3_600_000u64,
        count(),
        count(),
        count(),
        count(),
        any::<u32>(),
    );
    let texts = (
        words.clone(),
        words.clone(),
        proptest::option::of(words.clone()),
    );
    let runtime = proptest::option::of((words.clone(), words.clone()));
    let parts = (
        proptest::option::of(activity(words)),
        runtime,
        proptest::option::weighted(0.1, exit()),
        proptest::option::of(life()),
        any::<bool>(),
    );
    (numbers, texts, parts).prop_map(|(numbers, texts, parts)| {
        let (interval, epoch, slot, started_at_ms, restarts, pid) = numbers;
        let (instance, host, status_text) = texts;
        let (activity, runtime, exit, life, ready) = parts;
        Extension {
            interval: Duration::from_millis(interval),
            epoch,
            slot,
            slot_age: Duration::from_millis(slot % 3 * 250),
            instance,
            host,
            pid,
            started_at_ms,
            restarts,
            ready,
            status_text,
            activity,
            runtime: runtime.map(|(kind, id)| Runtime { kind, id }),
            exit,
            life,
            order: None,
            store_refuses: false,
            fenced: false,
        }
    })
}

fn beat(words: BoxedStrategy<String>) -> impl Strategy<Value = Beat> {
    let metrics = (amount(), amount(), count(), count(), count(), count());
    let task = proptest::option::of(words.clone());
    let progress = proptest::option::of(0.0..=100.0);
    let head = (
        "[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}",
        words.clone(),
        status(),
    );
    let hb = proptest::option::weighted(0.9, extension(words));
    (head, (count(), count()), metrics, (task, progress), hb).prop_map(
        |((id, agent_type, status), (timestamp_ms, sequence), metrics, (task, progress), hb)| {
            Beat {
                agent: AgentId::parse(&id).unwrap(),
                agent_type,
                timestamp_ms,
                sequence,
                status,
                metrics: Metrics {
                    cpu_percent: metrics.0,
                    memory_mb: metrics.1,
                    active_tasks: metrics.2,
                    queue_depth: metrics.3,
                    tokens_used_this_hour: metrics.4,
                    errors_last_5_min: metrics.5,
                },
                current_task: task,
                task_progress: progress,
                hb,
            }
        },
    )
}

/// Both ways of reading agree on this payload.
fn agree(payload: &[u8]) -> Result<(), TestCaseError> {
    let serde = Beat::decode(payload).map(|beat| Owned::from(Box::new(beat)));
    let mut owned = None;
    let read: Result<BeatView<'_>, BeatError> = view::read(payload, &mut owned);
    let expected = match &serde {
        Ok(beat) => Ok(beat.view()),
        Err(error) => Err(error.clone()),
    };
    prop_assert_eq!(&read, &expected);
    if let (Ok(read), Ok(serde)) = (read, &serde) {
        let (copied, serde) = (read.to_owned().unwrap(), serde.view());
        prop_assert_eq!(copied.view(), serde.clone());
        prop_assert_eq!(read.life(), serde.life());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn every_beat_that_this_version_writes_is_read_as_serde_reads_it(beat in beat(text().boxed())) {
        agree(beat.encode().as_bytes())?;
    }

    #[test]
    fn what_differs_by_some_bytes_is_read_or_refused_as_by_serde(
        beat in beat(plain().boxed()),
        places in prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, any::<prop::sample::Index>()), 1..3),
    ) {
        const BYTES: &[u8] = b"\"\\{}[]:,.0123456789-+eE ntfu\n\x00\x1f\x7f\xc3\xa4\xff";
        let mut payload = beat.encode().into_bytes();
        for (place, kind, byte) in places {
            let at = place.index(payload.len());
            let byte = BYTES[byte.index(BYTES.len())];
            match kind {
                0 => payload[at] = byte,
                1 => payload.insert(at, byte),
                _ => drop(payload.remove(at)),
            }
        }
        agree(&payload)?;
    }
}

#[test]
fn the_beat_of_a_sidecar_is_read_in_place() {
    let text = r#"{"agentId":"writer-1","agentType":"writer","timestamp":1764000000000,"sequence":42,"status":"healthy","metrics":{"cpuPercent":3.1,"memoryMB":182.0,"activeTasks":1,"queueDepth":0,"tokensUsedThisHour":5120,"errorsLast5Min":0},"currentTask":"index repo","taskProgress":42.0,"hb":{"v":1,"intervalMs":30000,"epoch":1764000000001,"slot":41,"instance":"5b1c9a52","host":"node-3","pid":4711,"startedAt":1763990000000,"restarts":1,"ready":true,"statusText":"at work","activity":{"verdict":"working","since":1763999990000,"cause":"progress","confidence":"none","sentence":"It receives.","evidence":[{"signal":"tcp.bytes_received","value":"18 kB in 30 s","source":"observed"},{"signal":"cpu","value":"3 %","source":"observed"}]},"runtime":{"kind":"docker","id":"3fa"},"exit":null,"life":{"step":3,"phase":"running","since":1763990000000,"incarnation":1,"end":{"incarnation":0,"exit":{"signal":9},"reason":"oom_killed"}},"order":null}}"#;
    let mut owned = None;
    let read = view::read(text.as_bytes(), &mut owned).unwrap();
    assert_eq!(read.hb.as_ref().unwrap().epoch, 1_764_000_000_001);
    assert_eq!(Beat::decode(text.as_bytes()).unwrap().encode(), text);
    assert!(owned.is_none(), "decoded by serde");
}

#[test]
fn a_beat_of_another_shape_is_decoded() {
    let text = r#"{ "agentId":"w1","timestamp":1,"sequence":1,"status":"healthy"}"#;
    let mut owned = None;
    assert_eq!(view::read(text.as_bytes(), &mut owned).unwrap().agent, "w1");
    assert!(owned.is_some());
}
