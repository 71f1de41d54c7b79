//! What a thread waits on: which objects can be enumerated, and when.

use super::*;
use crate::verdict::sample::Why;

/// A change of one object, by name.
type Saving = (&'static str, fn(&mut Object));

const ENUMERABLE: [ObjectKind; 9] = [
    ObjectKind::Pipe,
    ObjectKind::SocketPair,
    ObjectKind::Loopback,
    ObjectKind::Terminal,
    ObjectKind::Event,
    ObjectKind::Timer { armed: Some(false) },
    ObjectKind::Epoll,
    ObjectKind::FileLock,
    ObjectKind::Memory,
];

#[test]
fn every_object_with_known_holders_inside_the_tree_dooms_and_one_held_outside_saves() {
    for kind in ENUMERABLE {
        let with = |change: fn(&mut Object)| {
            let mut sample = cycle();
            pipe(&mut sample).kind = kind.clone();
            change(pipe(&mut sample));
            is_doomed(&sample)
        };
        assert!(with(|_| {}), "{kind:?}");
        let saving: [Saving; 4] = [
            ("held outside", |o| {
                o.holders = Holders::Known {
                    inside: vec![ROOT],
                    outside: vec![OUTSIDER],
                };
            }),
            ("unknown", |o| o.holders = Holders::Unknown(Why::Denied)),
            ("from outside", |o| o.origin = Origin::Outside),
            ("from an unknown place", |o| o.origin = Origin::Unknown),
        ];
        for (name, change) in saving {
            assert!(!with(change), "{kind:?} {name}");
        }
    }
}

#[test]
fn the_end_of_a_child_or_of_a_pidfds_process_is_awaited_wherever_that_was_made() {
    for kind in [ObjectKind::Process, ObjectKind::Children] {
        let mut sample = cycle();
        pipe(&mut sample).kind = kind;
        pipe(&mut sample).origin = Origin::Unknown;
        sample.reach = Reach::default();
        assert!(is_doomed(&sample));
        pipe(&mut sample).holders = Holders::Known {
            inside: Vec::new(),
            outside: vec![OUTSIDER],
        };
        assert!(!is_doomed(&sample));
    }
}

#[test]
fn what_anybody_can_act_on_is_outside_whoever_holds_it_now() {
    for kind in [
        ObjectKind::Fifo,
        ObjectKind::Listener,
        ObjectKind::Network,
        ObjectKind::Netlink,
        ObjectKind::TerminalMaster,
        ObjectKind::FileEvents,
        ObjectKind::UserFault,
        ObjectKind::Perf,
        ObjectKind::Ring,
        ObjectKind::Fuse,
        ObjectKind::Device,
        ObjectKind::File,
        ObjectKind::Other,
        ObjectKind::Signals(1 << 9),
        ObjectKind::Timer { armed: Some(true) },
        ObjectKind::Timer { armed: None },
        ObjectKind::Unreadable(Why::Gone),
    ] {
        let mut sample = cycle();
        pipe(&mut sample).kind = kind.clone();
        assert!(!is_doomed(&sample), "{kind:?}");
    }
}

#[test]
fn holders_that_contradict_the_wait_prove_nothing() {
    let known = |inside: &[u32]| Holders::Known {
        inside: inside.to_vec(),
        outside: Vec::new(),
    };
    let mut sample = cycle();
    pipe(&mut sample).holders = known(&[]);
    assert!(!is_doomed(&sample), "a pipe that no process holds");
    pipe(&mut sample).holders = known(&[ROOT, OTHER]);
    assert!(!is_doomed(&sample), "a process that was not seen");
    let mut ended = process(OTHER, ROOT);
    ended.state = RunState::Zombie;
    ended.threads.clear();
    ended.thread_count = 0;
    sample.processes.push(ended);
    assert!(!is_doomed(&sample), "a process that has ended");
}

#[test]
fn one_object_of_many_that_can_act_saves_a_poll() {
    let poll = || Wait::Poll {
        targets: Vec::new(),
        until: Until::Never,
    };
    let mut sample = cycle();
    let event = || object(ObjectKind::Event, &[CHILD]);
    waits(&mut sample, CHILD, poll(), vec![event(), event()]);
    assert!(is_doomed(&sample));
    let network = object(ObjectKind::Network, &[]);
    waits(&mut sample, CHILD, poll(), vec![event(), network]);
    assert!(!is_doomed(&sample));
}

#[test]
fn a_descriptor_that_may_have_been_passed_on_saves() {
    let reach = |hidden, met_outside| {
        let mut sample = cycle();
        sample.reach = Reach {
            hidden,
            met_outside,
            in_flight: Some(false),
        };
        is_doomed(&sample)
    };
    assert!(reach(Some(false), Some(true)), "every process is readable");
    assert!(reach(Some(true), Some(false)), "none was ever passed on");
    for (hidden, met) in [
        (Some(true), Some(true)),
        (Some(true), None),
        (None, Some(true)),
        (None, None),
    ] {
        assert!(!reach(hidden, met), "{hidden:?} {met:?}");
    }
}

#[test]
fn a_descriptor_that_is_on_its_way_saves() {
    let reach = |in_flight, met_outside| {
        let mut sample = cycle();
        sample.reach = Reach {
            hidden: Some(false),
            met_outside,
            in_flight,
        };
        is_doomed(&sample)
    };
    assert!(!reach(Some(true), Some(false)) && !reach(None, Some(true)));
    assert!(reach(Some(false), Some(true)) && reach(None, Some(false)));
}

#[test]
fn private_memory_is_never_passed_on_and_shared_memory_may_be() {
    let mut sample = futexes();
    sample.reach = Reach::default();
    assert!(is_doomed(&sample));
    main(&mut sample, ROOT).wait = Some(Wait::Futex {
        private: false,
        until: Until::Never,
        owner: None,
    });
    assert!(!is_doomed(&sample));
    sample.reach.met_outside = Some(false);
    assert!(is_doomed(&sample));
}

#[test]
fn a_time_limit_of_the_call_or_of_the_object_saves() {
    each_saves(
        cycle,
        &[
            ("a poll with a limit", |s| {
                let pipe = vec![object(ObjectKind::Pipe, &[ROOT])];
                let wait = Wait::Poll {
                    targets: Vec::new(),
                    until: limit(),
                };
                waits(s, CHILD, wait, pipe);
            }),
            ("a poll whose limit was not read", |s| {
                let pipe = vec![object(ObjectKind::Pipe, &[ROOT])];
                let wait = Wait::Poll {
                    targets: Vec::new(),
                    until: Until::Unreadable(Why::Denied),
                };
                waits(s, CHILD, wait, pipe);
            }),
            ("SO_RCVTIMEO", |s| pipe(s).limit = limit()),
            ("a limit that was not read", |s| {
                pipe(s).limit = Until::Unreadable(Why::Denied);
            }),
        ],
    );
}

#[test]
fn only_calls_of_the_table_with_an_object_doom() {
    let with = |wait: Wait, objects: Vec<Object>| {
        let mut sample = cycle();
        waits(&mut sample, CHILD, wait, objects);
        is_doomed(&sample)
    };
    let on = || vec![object(ObjectKind::Pipe, &[ROOT])];
    let poll = || Wait::Poll {
        targets: Vec::new(),
        until: Until::Never,
    };
    for wait in [
        Wait::Read(target()),
        Wait::Write(target()),
        poll(),
        futex(),
        Wait::Child(-1),
        Wait::Fork,
        Wait::Lock(target()),
    ] {
        assert!(with(wait.clone(), on()), "{wait:?}");
        assert!(!with(wait.clone(), Vec::new()), "{wait:?} on nothing");
    }
    for wait in [
        Wait::Running,
        Wait::Accept(target()),
        Wait::Connect(target()),
        Wait::Sleep(Until::Never),
        Wait::Signal(Until::Never),
        Wait::Sync(target()),
        Wait::Call(257),
        Wait::Unreadable(Why::Denied),
    ] {
        assert!(!with(wait.clone(), on()), "{wait:?}");
    }
}
