//! Trees: which threads the argument rests on, and what must be readable of each.

use super::*;
use crate::verdict::sample::{Gap, GapKind, Subject, Why};
use crate::verdict::wakeup::Source;

fn argument(sample: &Sample) -> Vec<u32> {
    doom(sample)
        .unwrap()
        .threads
        .iter()
        .map(|t| t.tid)
        .collect()
}

#[test]
fn the_argument_is_each_thread_with_what_alone_could_wake_it() {
    let doom = doom(&cycle()).unwrap();
    let sources: Vec<(u32, Vec<Source>)> = doom
        .threads
        .into_iter()
        .map(|t| (t.tid, t.sources))
        .collect();
    assert_eq!(
        sources,
        [
            (ROOT, vec![Source::Process(CHILD)]),
            (CHILD, vec![Source::Process(ROOT)])
        ]
    );
}

#[test]
fn the_argument_rests_on_the_root_alone_where_only_that_could_wake_itself() {
    let mut sample = futexes();
    sample.processes.push(sleeper(CHILD, ROOT));
    assert_eq!(argument(&sample), [ROOT, ROOT + 1]);
}

#[test]
fn the_argument_rests_on_every_process_where_any_could_send_a_signal() {
    let mut sample = futexes();
    sample.processes.push(process(CHILD, ROOT));
    sample.processes.push(process(OTHER, ROOT));
    of(&mut sample, ROOT).caught = Some(2);
    assert_eq!(argument(&sample), [ROOT, ROOT + 1, CHILD, OTHER]);
}

#[test]
fn any_process_that_lives_may_end_the_one_that_is_awaited() {
    let mut sample = cycle();
    sample.processes.push(process(OTHER, ROOT));
    assert_eq!(argument(&sample), [ROOT, CHILD, OTHER]);
    sample.processes.pop();
    sample.processes.push(sleeper(OTHER, ROOT));
    assert!(!is_doomed(&sample));
}

#[test]
fn life_spreads_along_the_graph_to_the_root() {
    let mut sample = cycle();
    sample.processes.push(process(OTHER, CHILD));
    let pipe = vec![object(ObjectKind::Pipe, &[OTHER])];
    waits(&mut sample, CHILD, Wait::Read(target()), pipe);
    assert!(is_doomed(&sample));
    main(&mut sample, OTHER).state = Some(RunState::Running);
    assert!(!is_doomed(&sample));
}

#[test]
fn a_thread_that_lives_wakes_those_that_share_its_memory() {
    let mut sample = futexes();
    let second = &mut of(&mut sample, ROOT).threads[1];
    second.wait = Some(Wait::Sleep(limit()));
    second.watched = Watched::All(Vec::new());
    assert!(!is_doomed(&sample));
}

#[test]
fn when_the_first_thread_has_ended_all_others_are_asked_together() {
    let mut sample = futexes();
    let root = of(&mut sample, ROOT);
    root.threads[0].tid = ROOT + 2;
    assert!(!is_doomed(&sample), "a main thread that was not seen");
    of(&mut sample, ROOT).first_thread_ended = true;
    assert_eq!(argument(&sample), [ROOT + 2, ROOT + 1]);
    let second = &mut of(&mut sample, ROOT).threads[1];
    second.wait = Some(Wait::Sleep(limit()));
    // The first of them waits for a process that cannot act, so only the second one lives.
    let pipe = vec![object(ObjectKind::Children, &[ROOT])];
    of(&mut sample, ROOT).threads[0].watched = Watched::All(pipe);
    assert!(!is_doomed(&sample));
}

#[test]
fn other_threads_of_a_root_whose_main_thread_is_doomed_may_live() {
    let mut sample = cycle();
    of(&mut sample, ROOT).first_thread_ended = false;
    assert!(is_doomed(&sample));
}

#[test]
fn what_is_held_by_somebody_may_be_continued() {
    each_saves(
        cycle,
        &[
            ("traced by a debugger", |s| of(s, CHILD).tracer = Some(9)),
            ("frozen", |s| of(s, CHILD).frozen = true),
            ("stopped", |s| {
                main(s, CHILD).state = Some(RunState::Stopped);
            }),
            ("in a debugger", |s| {
                main(s, CHILD).state = Some(RunState::Traced);
            }),
            ("runnable", |s| {
                main(s, CHILD).state = Some(RunState::Running);
            }),
            ("in state D", |s| {
                main(s, CHILD).state = Some(RunState::Disk)
            }),
            ("ending", |s| main(s, CHILD).state = Some(RunState::Zombie)),
            ("unread", |s| main(s, CHILD).state = None),
        ],
    );
}

#[test]
fn vfork_is_the_wait_in_state_d_that_a_child_ends() {
    let mut sample = cycle();
    let child = vec![object(ObjectKind::Children, &[CHILD])];
    waits(&mut sample, ROOT, Wait::Fork, child);
    main(&mut sample, ROOT).state = Some(RunState::Disk);
    assert!(is_doomed(&sample));
}

#[test]
fn everything_that_the_argument_needs_must_have_been_read() {
    each_saves(
        cycle,
        &[
            ("only counters", |s| s.depth = SampleDepth::Counters),
            ("another pid namespace", |s| s.space = Space::Foreign),
            ("an unknown pid namespace", |s| s.space = Space::Unknown),
            ("a thread was left out", |s| of(s, CHILD).thread_count = 2),
            ("turns are not counted", |s| main(s, CHILD).turns = 0),
            ("no wait", |s| main(s, CHILD).wait = None),
            ("unknown objects", |s| {
                main(s, CHILD).watched = Watched::Unknown(Why::NotAsked);
            }),
        ],
    );
    for what in [
        GapKind::Process,
        GapKind::Processes,
        GapKind::Threads,
        GapKind::Status,
        GapKind::Waits,
        GapKind::Descriptors,
        GapKind::Sockets,
    ] {
        for subject in [Subject::Process(CHILD), Subject::Tree] {
            let mut sample = cycle();
            let why = Why::Denied;
            sample.gaps.push(Gap { subject, what, why });
            assert!(!is_doomed(&sample), "{what:?} {subject:?}");
        }
    }
}

#[test]
fn a_process_that_could_not_be_read_may_wake_the_others() {
    for what in [GapKind::Process, GapKind::Processes] {
        let mut sample = cycle();
        let (subject, why) = (Subject::Process(OTHER), Why::Denied);
        sample.gaps.push(Gap { subject, what, why });
        assert!(!is_doomed(&sample), "{what:?}");
    }
}

#[test]
fn counters_of_bytes_are_no_part_of_the_argument() {
    none_saves(
        cycle,
        &[("io", |s| {
            s.gaps.push(Gap {
                subject: Subject::Process(CHILD),
                what: GapKind::Io,
                why: Why::Denied,
            });
        })],
    );
}

#[test]
fn a_thread_that_runs_lives_although_it_waits_on_nothing() {
    let mut sample = cycle();
    main(&mut sample, CHILD).wait = Some(Wait::Running);
    main(&mut sample, CHILD).watched = Watched::Unknown(Why::NotAsked);
    assert!(!is_doomed(&sample));
}

#[test]
fn an_ended_process_neither_lives_nor_dooms() {
    let mut sample = cycle();
    let mut ended = sleeper(OTHER, ROOT);
    ended.state = RunState::Zombie;
    sample.processes.push(ended);
    assert_eq!(argument(&sample), [ROOT, CHILD]);
}

#[test]
fn a_worker_that_waits_for_nothing_but_itself_may_rest() {
    let rests = |sample: &Sample| doom(sample).unwrap().may_rest(sample);
    assert!(rests(&futexes()));
    assert!(!rests(&cycle()), "each waits for the other");
    let mut wrapped = cycle();
    waits(
        &mut wrapped,
        CHILD,
        futex(),
        vec![object(ObjectKind::Memory, &[CHILD])],
    );
    assert!(rests(&wrapped), "a shell that waits for such a worker");
    let owned = |owner| {
        let mut sample = futexes();
        main(&mut sample, ROOT).wait = Some(Wait::Futex {
            private: true,
            until: Until::Never,
            owner: Some(owner),
        });
        rests(&sample)
    };
    assert!(!owned(ROOT + 1), "a mutex that its other thread holds");
    assert!(owned(OTHER), "a number that is no thread of it");
    let mut relocks = futexes();
    let lock = vec![object(ObjectKind::FileLock, &[ROOT])];
    waits(&mut relocks, ROOT, Wait::Lock(target()), lock);
    assert!(!rests(&relocks), "a file that it has locked itself");
}
