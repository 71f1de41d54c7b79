//! Handlers, timers that send signals, and ends by a signal.

use super::*;

fn handles(sample: &mut Sample, pid: u32, signal: u32) {
    of(sample, pid).caught = Some(1 << (signal - 1));
}

/// Whether the tree is doomed when its root handles this signal.
fn with(signal: u32) -> bool {
    let mut sample = cycle();
    handles(&mut sample, ROOT, signal);
    is_doomed(&sample)
}

#[test]
fn a_handler_saves_unless_the_signal_asks_it_to_end_or_comes_from_itself() {
    // INT QUIT ILL TRAP ABRT BUS FPE SEGV PIPE TERM STKFLT CHLD XFSZ SYS, and the two of the C library.
    let expected = [2, 3, 4, 5, 6, 7, 8, 11, 13, 15, 16, 17, 25, 31, 32, 33];
    for signal in 1..=64 {
        assert_eq!(with(signal), expected.contains(&signal), "signal {signal}");
    }
}

#[test]
fn a_handler_whose_signal_is_blocked_saves_nothing() {
    let mut sample = cycle();
    handles(&mut sample, ROOT, 10);
    main(&mut sample, ROOT).blocked = Some(1 << 9);
    assert!(is_doomed(&sample));
    main(&mut sample, ROOT).blocked = Some(!(1 << 9));
    assert!(!is_doomed(&sample));
}

#[test]
fn a_descriptor_that_sends_signals_saves_who_handles_one_of_any_number() {
    let mut sample = cycle();
    of(&mut sample, CHILD).signals_events = true;
    assert!(is_doomed(&sample), "none is handled");
    handles(&mut sample, ROOT, 3);
    assert!(!is_doomed(&sample));
    of(&mut sample, CHILD).signals_events = false;
    assert!(is_doomed(&sample));
}

#[test]
fn what_a_runtime_handles_for_itself_stands_in_a_table() {
    let mut sample = cycle();
    "node".clone_into(&mut of(&mut sample, ROOT).name);
    handles(&mut sample, ROOT, 10);
    assert!(is_doomed(&sample));
    handles(&mut sample, ROOT, 12);
    assert!(!is_doomed(&sample));
}

#[test]
fn unread_signals_and_timers_save() {
    each_saves(
        cycle,
        &[
            ("handlers", |s| of(s, CHILD).caught = None),
            ("blocked signals", |s| main(s, CHILD).blocked = None),
            ("timers", |s| of(s, CHILD).timers = None),
            ("a timer", |s| of(s, CHILD).timers = Some(1)),
        ],
    );
}

#[test]
fn any_process_that_lives_may_send_a_signal_that_is_handled() {
    let mut sample = futexes();
    sample.processes.push(sleeper(CHILD, ROOT));
    assert!(is_doomed(&sample), "it has no handler");
    handles(&mut sample, ROOT, 2);
    assert!(!is_doomed(&sample), "the child may interrupt it");
    main(&mut sample, ROOT).blocked = Some(2);
    of(&mut sample, ROOT).threads[1].blocked = Some(2);
    assert!(is_doomed(&sample), "not while it blocks the signal");
}

#[test]
fn a_child_that_may_end_by_an_interval_timer_saves_what_waits_for_it() {
    let alarms = |alarms, ignored| {
        let mut sample = cycle();
        sample.host.alarms = alarms;
        of(&mut sample, CHILD).ignored = ignored;
        is_doomed(&sample)
    };
    const ALRM: u64 = 1 << 13;
    assert!(!alarms(None, Some(0)), "whose timer is not visible");
    assert!(!alarms(Some(true), Some(0)), "some process has one");
    assert!(!alarms(Some(true), Some(!ALRM)));
    assert!(!alarms(Some(true), None));
    assert!(alarms(Some(true), Some(ALRM)), "it ignores the signal");
}

#[test]
fn the_roots_own_interval_timer_saves_nothing_since_it_ends_the_root() {
    let mut sample = futexes();
    sample.host.alarms = None;
    sample.processes.push(process(CHILD, ROOT));
    let pipe = object(ObjectKind::Pipe, &[ROOT]);
    waits(&mut sample, CHILD, Wait::Read(target()), vec![pipe]);
    handles(&mut sample, ROOT, 2);
    assert!(is_doomed(&sample));
}

#[test]
fn the_end_of_a_living_child_saves_what_handles_it() {
    let mut sample = futexes();
    sample.host.alarms = None;
    sample.processes.push(process(CHILD, ROOT));
    assert!(is_doomed(&sample));
    handles(&mut sample, ROOT, 17);
    assert!(!is_doomed(&sample), "the child may end by a timer");
    of(&mut sample, CHILD).state = RunState::Zombie;
    assert!(is_doomed(&sample), "it has ended already");
    of(&mut sample, CHILD).state = RunState::Sleeping;
    of(&mut sample, CHILD).parent = OTHER;
    assert!(is_doomed(&sample), "it is another one's child");
}
