//! How long it must last, and what a person reads.

use super::*;
use crate::verdict::machine::VerdictMachine;
use crate::verdict::sample::{Channel, End};
use crate::verdict::{Confidence, Fix, Input, Judgement, RuleId, SelfReport, Settings};
use crate::wire::activity::Verdict;

/// The machine looks at this tree each five seconds; before each sample the tree changes.
fn watched(
    settings: Settings,
    samples: u64,
    sample: Sample,
    mut change: impl FnMut(u64, &mut Sample),
) -> Vec<(u64, Judgement)> {
    let start = Moment::from_millis(1_000_000);
    let mut machine = VerdictMachine::new(settings, start);
    let mut sample = sample;
    let mut judgements = Vec::new();
    for n in 0..samples {
        sample.at = start + Duration::from_secs(5 * n);
        sample.depth = SampleDepth::Waits;
        change(n, &mut sample);
        let input = Input::Sample(Box::new(sample.clone()));
        let judged = machine.handle(input, sample.at);
        judgements.extend(judged.map(|j| (5 * n, j)));
    }
    judgements
}

fn proof(judgements: &[(u64, Judgement)]) -> Option<u64> {
    let proven = |(_, j): &&(u64, Judgement)| j.confidence == Confidence::Proof;
    judgements.iter().find(proven).map(|(at, _)| *at)
}

#[test]
fn a_tree_that_stays_doomed_is_proven_within_the_rules_time() {
    let judgements = watched(Settings::default(), 7, cycle(), |_, _| {});
    let at = proof(&judgements).unwrap();
    assert!(at <= RuleId::Doomed.rule().after.as_secs(), "{at}");
    let (_, judgement) = judgements.last().unwrap();
    assert_eq!(judgement.verdict, Verdict::Hung);
    assert_eq!(judgement.cause, RuleId::Doomed);
    let child = Fix::EndChild {
        pid: CHILD,
        started: u64::from(CHILD),
    };
    assert_eq!(judgement.fix, child);
}

#[test]
fn no_suspicion_of_the_same_comes_before_the_proof() {
    let mut sample = cycle();
    sample.ends = [(ROOT, true), (CHILD, false)]
        .map(|(pid, reads)| End {
            pid,
            fd: 3,
            of: Channel::Pipe(7),
            reads,
            writes: !reads,
        })
        .to_vec();
    let judgements = watched(Settings::default(), 7, sample.clone(), |_, _| {});
    let causes: Vec<RuleId> = judgements.iter().map(|(_, j)| j.cause).collect();
    assert_eq!(causes, [RuleId::Doomed]);
    sample.space = Space::Unknown;
    let judgements = watched(Settings::default(), 70, sample, |_, _| {});
    assert_eq!(judgements.last().unwrap().1.cause, RuleId::PipeCycle);
}

#[test]
fn three_samples_are_needed_however_far_they_are_apart() {
    let patient = Settings {
        patience: "0.001".parse().unwrap(),
        ..Settings::default()
    };
    let samples = |n| proof(&watched(patient, n, cycle(), |_, _| {}));
    // The first sample of an incarnation has nothing to be compared with.
    assert_eq!(samples(3), None);
    assert_eq!(samples(4), Some(15));
}

#[test]
fn a_thread_that_wakes_now_and_then_is_never_part_of_a_proof() {
    let judgements = watched(Settings::default(), 100, cycle(), |n, sample| {
        main(sample, CHILD).turns = 1 + n / 2;
    });
    assert_eq!(proof(&judgements), None);
}

#[test]
fn a_tree_that_is_not_doomed_in_between_begins_again() {
    let judgements = watched(Settings::default(), 100, cycle(), |n, sample| {
        let outside = if n % 3 == 0 {
            Origin::Outside
        } else {
            Origin::Inside
        };
        pipe(sample).origin = outside;
    });
    assert_eq!(proof(&judgements), None);
}

#[test]
fn a_machine_that_was_suspended_or_starves_the_agent_begins_again() {
    let suspended = watched(Settings::default(), 100, cycle(), |n, sample| {
        sample.host.suspended = Duration::from_secs(n / 2 * 10);
    });
    assert_eq!(proof(&suspended), None);
    let starved = watched(Settings::default(), 100, cycle(), |n, sample| {
        sample.host.memory_full = (n % 2 == 0).then_some(50.0);
    });
    assert_eq!(proof(&starved), None);
}

#[test]
fn progress_begins_again() {
    let judgements = watched(Settings::default(), 100, cycle(), |n, sample| {
        of(sample, ROOT).reaped_ticks = n / 2 * 400;
    });
    assert_eq!(proof(&judgements), None);
}

#[test]
fn a_one_off_diagnosis_names_it_as_a_suspicion_until_it_has_lasted() {
    let once = Settings {
        one_off: Some(Duration::from_secs(1)),
        ..Settings::default()
    };
    let judgements = watched(once, 7, cycle(), |_, _| {});
    let (_, first) = judgements.first().unwrap();
    assert_eq!(
        (first.verdict, first.cause),
        (Verdict::Stalled, RuleId::Doomed)
    );
    assert!(
        first
            .sentence
            .ends_with("; would be proof if it holds: use --watch")
    );
    assert!(proof(&judgements).is_some());
}

#[test]
fn a_worker_that_may_rest_is_proven_only_when_work_is_owed() {
    let proven = |owed: bool, headless: bool| {
        let start = Moment::from_millis(1_000_000);
        let mut machine = VerdictMachine::new(Settings::default(), start);
        let report = SelfReport {
            task_owed: owed,
            ..SelfReport::default()
        };
        machine.handle(Input::SelfReport(report), start);
        let mut sample = futexes();
        of(&mut sample, ROOT).headless = headless;
        for n in 0..7 {
            sample.at = start + Duration::from_secs(5 * n);
            machine.handle(Input::Sample(Box::new(sample.clone())), sample.at);
        }
        machine.judgement().confidence == Confidence::Proof
    };
    assert!(!proven(false, false));
    assert!(proven(true, false));
    assert!(proven(false, true));
}

#[test]
fn the_sentence_follows_the_chain_and_the_evidence_names_each_thread() {
    let judgements = watched(Settings::default(), 7, cycle(), |_, _| {});
    let (_, judgement) = judgements.last().unwrap();
    assert_eq!(
        judgement.sentence,
        "p100 (100) waits for the end of process 200, which waits for room in a pipe (descriptor 3); \
         each waits for another one of them, and nothing else could wake any"
    );
    let evidence: Vec<&str> = judgement
        .evidence
        .iter()
        .map(|e| e.value.as_str())
        .collect();
    assert_eq!(
        evidence,
        [
            "p100 (100) waits for the end of process 200; only p200 (200) could end that, and cannot run again either",
            "p200 (200) waits for room in a pipe (descriptor 3); only p100 (100) could end that, and cannot run again either",
            "the order `unblock` would end process 200 with SIGTERM",
        ]
    );
}

#[test]
fn a_process_that_waits_for_itself_is_told_so_with_its_threads_and_its_ended_child() {
    let mut sample = futexes();
    let mut ended = process(CHILD, ROOT);
    ended.state = RunState::Zombie;
    sample.processes.push(ended);
    of(&mut sample, ROOT).headless = true;
    let judgements = watched(Settings::default(), 7, sample, |_, _| {});
    let (_, judgement) = judgements.last().unwrap();
    assert_eq!(
        judgement.sentence,
        "p100 (100) waits for a lock or condition; only its own threads could end that, and none of them can run again"
    );
    let evidence: Vec<&str> = judgement
        .evidence
        .iter()
        .map(|e| e.value.as_str())
        .collect();
    assert_eq!(
        evidence,
        [
            "p100 (100) waits for a lock or condition; only other threads of its process could end that, and cannot run again either",
            "thread 101 of p100 (100) waits for a lock or condition; only other threads of its process could end that, and cannot run again either",
            "p200 (200) has ended",
        ]
    );
}
