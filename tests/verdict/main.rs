//! Working or stuck, row by row: synthetic looks at a tree, hours in milliseconds. `h` rows must be flagged with the right
//! evidence in time, `g` rows never.
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]
#![expect(clippy::panic, reason = "a test that fails says why")]

mod loops;
mod requests;
mod retries;
mod suspicion;
mod unmodified;

use heartbeat::base::moment::Moment;
use heartbeat::verdict::machine::VerdictMachine;
use heartbeat::verdict::sample::{
    Channel, End, FileLock, Gap, GapKind, Host, Io, Kind, Output, Outsider, Process, Reach,
    RunState, Sample, SampleDepth, Socket, SocketKind, Space, Subject, Target, Tcp, TcpState,
    Thread, Until, Wait, Why,
};
use heartbeat::verdict::{Fix, Input, Judgement, Patience, SelfReport, Settings};
use heartbeat::wire::beat::Verdict;
use heartbeat::wire::declared_state::DeclaredState;
use std::time::Duration;

const ROOT: u32 = 100;
const CHILD: u32 = 101;
const MINUTE: u64 = 60;

/// An agent, its machine and its watcher.
struct World {
    sample: Sample,
    machine: VerdictMachine,
    word: SelfReport,
    judgements: Vec<(u64, Judgement)>,
    start: Moment,
}

impl World {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let start = Moment::from_millis(1_000_000);
        let sample = Sample {
            root: ROOT,
            at: start,
            depth: SampleDepth::Waits,
            processes: vec![process(ROOT, 1, "agent")],
            sockets: Vec::new(),
            ends: Vec::new(),
            outsiders: Vec::new(),
            locks: Vec::new(),
            outputs: Vec::new(),
            host: Host::default(),
            reach: Reach::default(),
            space: Space::Own,
            gaps: Vec::new(),
            cost: Duration::from_micros(500),
        };
        let machine = VerdictMachine::new(settings, start);
        Self {
            sample,
            machine,
            word: SelfReport::default(),
            judgements: Vec::new(),
            start,
        }
    }

    fn root(&mut self) -> &mut Process {
        &mut self.sample.processes[0]
    }

    fn main_waits(mut self, wait: Wait) -> Self {
        self.root().threads[0].wait = Some(wait);
        self
    }

    fn with_child(mut self, name: &str, wait: Wait) -> Self {
        let mut child = process(CHILD, ROOT, name);
        child.threads[0].wait = Some(wait);
        self.sample.processes.push(child);
        self.main_waits(Wait::Child(-1))
    }

    fn with_threads(mut self, count: u32, wait: &Wait) -> Self {
        for n in 1..=count {
            let wait = Some(wait.clone());
            self.root().threads.push(Thread {
                tid: ROOT + 1000 + n,
                wait,
                ..Thread::default()
            });
        }
        self.root().thread_count += count;
        self
    }

    fn with_tcp(mut self, tcp: Tcp) -> Self {
        let kind = SocketKind::Tcp(Box::new(tcp));
        self.sample.sockets.push(Socket {
            pid: ROOT,
            fd: 5,
            inode: 55,
            kind,
        });
        self
    }

    fn tcp(&mut self) -> &mut Tcp {
        match &mut self.sample.sockets[0].kind {
            SocketKind::Tcp(tcp) => tcp,
            SocketKind::Unix { .. } | SocketKind::Other | SocketKind::Unreadable(_) => {
                panic!("not a TCP socket")
            }
        }
    }

    fn owing(self) -> Self {
        self.saying(|word| word.task_owed = true)
    }

    fn saying(mut self, change: impl FnOnce(&mut SelfReport)) -> Self {
        let now = self.now();
        change(&mut self.word);
        self.machine
            .handle(Input::SelfReport(self.word.clone()), now);
        self
    }

    fn now(&self) -> Moment {
        self.sample.at
    }

    fn seconds(&self) -> u64 {
        self.now().since(self.start).as_secs()
    }

    /// Lets so many seconds pass; before each look the world changes.
    fn passes(mut self, seconds: u64, mut change: impl FnMut(&mut Self)) -> Self {
        let end = self.now() + Duration::from_secs(seconds);
        loop {
            let due = self.machine.deadline().max(self.now());
            if due > end {
                return self;
            }
            // A closer look at once shows the same world.
            if due > self.now() || self.judgements.is_empty() && self.now() == self.start {
                self.sample.at = due;
                change(&mut self);
            }
            self.look();
        }
    }

    fn still(self, seconds: u64) -> Self {
        self.passes(seconds, |_| {})
    }

    fn look(&mut self) {
        self.sample.depth = self.machine.depth();
        let now = self.now();
        let judgement = self
            .machine
            .handle(Input::Sample(Box::new(self.sample.clone())), now);
        self.judgements
            .extend(judgement.map(|j| (self.seconds(), j)));
    }

    fn verdict(&self) -> Verdict {
        self.machine.judgement().verdict
    }

    #[track_caller]
    fn is(&self, verdict: Verdict, within: u64, proof: &str) -> &Judgement {
        let found = self.judgements.iter().find(|(_, j)| j.verdict == verdict);
        let (at, judgement) =
            found.unwrap_or_else(|| panic!("never {verdict:?}: {:#?}", self.judgements));
        assert!(
            *at <= within,
            "{verdict:?} only after {at} s: {judgement:?}"
        );
        let said = format!("{} {:?}", judgement.sentence, judgement.evidence);
        assert!(said.contains(proof), "{proof:?} is not in {said}");
        judgement
    }

    #[track_caller]
    fn is_never_flagged(&self) -> &Self {
        let flag = self.judgements.iter().find(|(_, j)| j.verdict.is_flag());
        assert!(flag.is_none(), "{flag:?}");
        self
    }
}

fn process(pid: u32, parent: u32, name: &str) -> Process {
    Process {
        pid,
        parent,
        started: u64::from(pid) * 10,
        name: name.to_owned(),
        command: format!("{name} --run"),
        caught: Some(2),
        io: Some(Io::default()),
        threads: vec![Thread {
            tid: pid,
            wait: Some(parked()),
            ..Thread::default()
        }],
        thread_count: 1,
        ..Process::default()
    }
}

fn parked() -> Wait {
    Wait::Futex {
        private: true,
        until: Until::Never,
        owner: None,
    }
}

fn target(fd: i32, kind: Kind) -> Target {
    Target {
        fd,
        kind,
        full: false,
    }
}

fn socket_read() -> Wait {
    Wait::Read(target(5, Kind::Socket(55)))
}

fn event_loop(targets: Vec<Target>, until: Until) -> Wait {
    Wait::Poll { targets, until }
}

fn timer(millis: u64) -> Until {
    Until::In(Duration::from_millis(millis))
}

fn asked() -> Tcp {
    Tcp {
        local_port: 40_000,
        remote: "192.0.2.1:443".to_owned(),
        remote_port: 443,
        acked: 900,
        sent_ago: Duration::from_secs(1),
        received_ago: Duration::from_secs(2),
        keep_alive: Some(true),
        unread: Some(0),
        ..Tcp::default()
    }
}

fn listener(port: u16, waiting: u32) -> Tcp {
    Tcp {
        state: TcpState::Listen,
        local_port: port,
        unacked: waiting,
        ..Tcp::default()
    }
}

fn end(pid: u32, fd: i32, inode: u64, reads: bool) -> End {
    End {
        pid,
        fd,
        of: Channel::Pipe(inode),
        reads,
        writes: !reads,
    }
}

fn outsider(pid: u32, name: &str) -> Outsider {
    Outsider {
        pid,
        parent: 1,
        started: 5,
        name: name.to_owned(),
        state: RunState::Sleeping,
        cpu_ticks: 0,
        written: 0,
        reads_terminal: false,
        own: false,
    }
}

fn wakes(world: &mut World) {
    for thread in &mut world.root().threads {
        thread.turns += 1;
    }
}

fn burns(world: &mut World, at: usize, share: f64) {
    let process = &mut world.sample.processes[at];
    process.threads[0].run += Duration::from_secs(5).mul_f64(share);
    process.threads[0].turns += 50;
}

// --- must be found ---

#[test]
fn h01_an_answer_that_never_comes_is_stalled_after_ten_minutes_and_not_before() {
    let world = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .still(9 * MINUTE + 50);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::WaitingModel);
    let world = world.still(5 * MINUTE);
    world.is(Verdict::Stalled, 11 * MINUTE, "last received");
}

#[test]
fn h02_a_stream_that_stops_after_three_tokens_is_stalled() {
    let mut tokens = 0;
    let world = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .passes(12 * MINUTE, |w| {
            tokens += 1;
            if tokens <= 3 {
                w.tcp().received += 300;
                w.tcp().segments_in += 1;
            }
        });
    world.is(Verdict::Stalled, 11 * MINUTE, "no response from");
}

#[test]
fn h03_pings_alone_are_no_progress() {
    let world = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .passes(17 * MINUTE, |w| {
            w.tcp().received += 5 * 13;
            w.tcp().segments_in += 5;
            w.tcp().acked += 0;
            wakes(w);
        });
    world.is(Verdict::Stalled, 16 * MINUTE, "only small equal pieces");
    assert!(
        world
            .judgements
            .iter()
            .all(|(at, j)| *at > 14 * MINUTE || !j.verdict.is_flag())
    );
}

#[test]
fn h05_a_spinner_drawn_over_a_dead_stream_hides_nothing() {
    let poll = event_loop(vec![target(5, Kind::Socket(55))], timer(80));
    let world = World::new()
        .main_waits(poll)
        .with_tcp(asked())
        .passes(13 * MINUTE, |w| {
            let io = w.root().io.as_mut().unwrap();
            io.written += 62 * 14;
            io.writes += 62;
            wakes(w);
        });
    world.is(Verdict::Stalled, 12 * MINUTE, "no response from");
}

#[test]
fn h06_an_event_loop_with_nothing_but_its_timer_is_hung_when_work_is_owed() {
    let poll = event_loop(
        vec![target(9, Kind::Internal("eventfd".into()))],
        timer(1000),
    );
    let world = World::new()
        .main_waits(poll)
        .with_threads(4, &parked())
        .owing()
        .passes(320, wakes);
    let found = world.is(Verdict::Stalled, 5 * MINUTE, "only its own timer");
    assert_eq!(found.fix, Fix::Restart);
}

#[test]
fn h06_a_loop_that_is_awake_in_one_look_of_four_is_hung_all_the_same() {
    let poll = || {
        event_loop(
            vec![target(9, Kind::Internal("eventfd".into()))],
            timer(1000),
        )
    };
    let mut looks = 0;
    let world = World::new().main_waits(poll()).owing().passes(320, |w| {
        wakes(w);
        looks += 1;
        let wait = if looks % 4 == 0 {
            Wait::Running
        } else {
            poll()
        };
        w.root().threads[0].wait = Some(wait);
    });
    world.is(Verdict::Stalled, 5 * MINUTE, "only its own timer");
}

#[test]
fn g_an_event_loop_whose_scheduler_will_send_a_signal_is_not_dead() {
    let poll = event_loop(
        vec![target(9, Kind::Internal("eventfd".into()))],
        Until::Never,
    );
    let mut world = World::new().main_waits(poll).owing();
    // USR1.
    world.root().caught = Some(1 << 9);
    world.still(60 * MINUTE).is_never_flagged();
}

#[test]
fn h06_a_socket_to_its_own_watcher_is_no_source_of_events_and_one_to_anybody_else_is() {
    let looks = |own, seconds| {
        let poll = event_loop(vec![target(5, Kind::Socket(55))], timer(1000));
        let mut world = World::new().main_waits(poll);
        unix(&mut world, ROOT, 900);
        world.sample.ends.push(End {
            of: Channel::Socket(77),
            writes: true,
            ..end(900, 8, 0, true)
        });
        world.sample.outsiders = vec![Outsider {
            own,
            ..outsider(900, "hbsidecar")
        }];
        world.owing().passes(seconds, wakes)
    };
    looks(true, 320).is(Verdict::Stalled, 5 * MINUTE, "only its own timer");
    looks(false, 290).is_never_flagged();
}

#[test]
fn h07_a_peer_that_answers_no_keep_alive_is_dead_and_its_connection_is_broken() {
    let tcp = Tcp {
        probes: 4,
        ..asked()
    };
    let world = World::new()
        .main_waits(socket_read())
        .with_tcp(tcp)
        .still(20);
    let found = world.is(Verdict::Stalled, 20, "4 keep-alive");
    assert_eq!(
        found.fix,
        Fix::ResetSocket {
            pid: ROOT,
            fd: 5,
            inode: 55
        }
    );
}

#[test]
fn h07_keep_alive_is_asked_for_once_the_answer_is_late() {
    let tcp = Tcp {
        keep_alive: Some(false),
        ..asked()
    };
    let world = World::new()
        .main_waits(socket_read())
        .with_tcp(tcp)
        .still(11 * MINUTE);
    let waits = world.is(Verdict::WaitingModel, 20, "keep-alive off");
    assert_eq!(waits.fix, Fix::None);
    let late = world.is(Verdict::Stalled, 11 * MINUTE, "keep-alive off");
    assert_eq!(
        late.fix,
        Fix::KeepAlive {
            pid: ROOT,
            fd: 5,
            inode: 55
        }
    );
}

#[test]
fn h08_a_peer_that_closed_without_an_answer_is_noticed() {
    let tcp = Tcp {
        state: TcpState::CloseWait,
        received: 1,
        ..asked()
    };
    let world = World::new().with_tcp(tcp).still(70);
    world.is(Verdict::Stalled, 60, "CLOSE-WAIT, Recv-Q 1");
}

#[test]
fn h09_a_connection_request_into_the_void_is_stalled() {
    let tcp = Tcp {
        state: TcpState::SynSent,
        retransmits: 3,
        ..asked()
    };
    let wait = Wait::Connect(target(5, Kind::Socket(55)));
    World::new()
        .main_waits(wait)
        .with_tcp(tcp)
        .still(70)
        .is(Verdict::Stalled, 60, "SYN-SENT");
}

#[test]
fn h10_all_threads_on_locks_are_a_deadlock_only_when_work_is_owed() {
    let world = World::new().with_threads(2, &parked()).owing().still(150);
    world.is(Verdict::Stalled, 2 * MINUTE, "not one woke");
    let world = World::new().with_threads(2, &parked()).still(60 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Idle);
}

#[test]
fn h10_a_ring_of_mutexes_is_proof_without_a_word() {
    let waits_for = |owner| Wait::Futex {
        private: true,
        until: Until::Never,
        owner: Some(owner),
    };
    let mut world = World::new().with_threads(2, &parked());
    world.root().threads[1].wait = Some(waits_for(ROOT + 1002));
    world.root().threads[2].wait = Some(waits_for(ROOT + 1001));
    world
        .still(40)
        .is(Verdict::Stalled, 60, "waits for a lock held by thread");
}

#[test]
fn h11_a_fork_while_a_lock_was_held_is_found_and_only_the_child_is_ended() {
    let world = World::new().with_child("agent", parked()).still(60);
    let found = world.is(Verdict::Stalled, 2 * MINUTE, "forked while a lock was held");
    assert_eq!(
        found.fix,
        Fix::EndChild {
            pid: CHILD,
            started: 1010
        }
    );
}

#[test]
fn h12_a_full_pipe_whose_reader_waits_for_the_writer_is_a_knot() {
    let write = Wait::Write(target(1, Kind::Pipe(7)));
    let mut world = World::new().with_child("tool", write);
    world.sample.ends = vec![end(ROOT, 3, 7, true), end(CHILD, 1, 7, false)];
    let world = world.still(6 * MINUTE);
    let found = world.is(Verdict::Stalled, 5 * MINUTE, "the end of a child");
    assert_eq!(
        found.fix,
        Fix::EndChild {
            pid: CHILD,
            started: 1010
        }
    );
}

#[test]
fn h13_a_read_of_an_open_stdin_is_a_wait_for_input_without_a_fix() {
    let mut world = World::new().with_child("cat", Wait::Read(target(0, Kind::Pipe(7))));
    world.sample.ends = vec![end(9, 4, 7, false)];
    let world = world.still(10 * MINUTE);
    let found = world.is(Verdict::WaitingInput, 30, "standard input");
    assert_eq!(found.fix, Fix::None);
    world.is_never_flagged();
}

#[test]
fn h14_a_password_prompt_is_a_wait_for_a_person_for_ever() {
    let world = World::new()
        .with_child(
            "git",
            Wait::Read(target(3, Kind::Terminal("/dev/tty".into()))),
        )
        .owing()
        .still(120 * MINUTE);
    world.is(Verdict::WaitingInput, 30, "/dev/tty");
    world.is_never_flagged();
}

#[test]
fn h17_a_stopped_child_is_woken() {
    let mut world = World::new().with_child("tool", parked());
    world.sample.processes[1].state = RunState::Stopped;
    let world = world.still(30);
    assert_eq!(
        world.is(Verdict::Stalled, 15, "SIGCONT").fix,
        Fix::Cont {
            pid: CHILD,
            started: 1010
        }
    );
}

#[test]
fn h17_a_child_that_stops_right_after_its_start_is_found_in_time_too() {
    let mut looks = 0;
    let world = World::new().passes(15, |w| {
        looks += 1;
        if looks == 2 {
            let mut child = process(CHILD, ROOT, "tool");
            child.state = RunState::Stopped;
            w.sample.processes.push(child);
            w.root().threads[0].wait = Some(Wait::Child(-1));
        }
    });
    world.is(Verdict::Stalled, 15, "SIGCONT");
}

#[test]
fn h17_job_control_of_a_person_is_left_to_the_person() {
    let mut world = World::new();
    world.root().state = RunState::Stopped;
    world.root().group = 100;
    world.root().foreground = Some(50);
    let world = world.still(60 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::WaitingInput);
}

#[test]
fn h18_output_that_nobody_reads_is_hung_and_names_the_reader() {
    let mut world = World::new().main_waits(Wait::Write(target(1, Kind::Pipe(7))));
    world.sample.ends = vec![end(ROOT, 1, 7, false), end(9, 3, 7, true)];
    world.sample.outsiders = vec![outsider(9, "viewer")];
    let world = world.still(6 * MINUTE);
    world.is(Verdict::Stalled, 5 * MINUTE, "viewer (9)");
}

#[test]
fn h18_a_consumer_that_is_slow_but_drains_is_no_hang() {
    let mut world = World::new().main_waits(Wait::Write(target(1, Kind::Pipe(7))));
    world.sample.ends = vec![end(ROOT, 1, 7, false), end(9, 3, 7, true)];
    world.passes(60 * MINUTE, wakes).is_never_flagged();
}

#[test]
fn h19_a_terminal_that_nobody_drains_is_hung_but_a_pager_is_a_person() {
    let write = || Wait::Write(target(1, Kind::Terminal("/dev/pts/3".into())));
    World::new().main_waits(write()).still(6 * MINUTE).is(
        Verdict::Stalled,
        5 * MINUTE,
        "/dev/pts/3",
    );
    let mut world = World::new().main_waits(Wait::Write(target(1, Kind::Pipe(7))));
    world.sample.ends = vec![end(9, 0, 7, true)];
    world.sample.outsiders = vec![Outsider {
        reads_terminal: true,
        ..outsider(9, "less")
    }];
    let world = world.still(60 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::WaitingInput);
}

#[test]
fn h20_a_lock_on_a_file_names_its_holder() {
    let lock = FileLock {
        holder: Some(9),
        name: "holder".into(),
        path: "/x.lock".into(),
        exclusive: true,
        waiter: Some(ROOT),
    };
    let mut world = World::new().main_waits(Wait::Lock(target(3, Kind::File("/x.lock".into()))));
    world.sample.locks = vec![lock];
    world
        .still(150)
        .is(Verdict::Stalled, 2 * MINUTE, "holder (9)");
}

#[test]
fn h20_a_holder_that_works_will_let_go() {
    let mut world = World::new().main_waits(Wait::Lock(target(3, Kind::File("/x.lock".into()))));
    world.sample.locks = vec![FileLock {
        holder: Some(9),
        name: "cargo".into(),
        path: "/x.lock".into(),
        exclusive: true,
        waiter: Some(ROOT),
    }];
    world.sample.outsiders = vec![outsider(9, "cargo")];
    let world = world.passes(30 * MINUTE, |w| w.sample.outsiders[0].cpu_ticks += 400);
    world.is_never_flagged();
}

#[test]
fn h21_busy_waiting_for_somebody_elses_lock_is_stalled() {
    let mut world = World::new().main_waits(Wait::Sleep(timer(100)));
    world.sample.locks = vec![FileLock {
        holder: Some(9),
        name: "python3".into(),
        path: "/x.db".into(),
        exclusive: true,
        waiter: None,
    }];
    world
        .passes(6 * MINUTE, wakes)
        .is(Verdict::Stalled, 5 * MINUTE, "/x.db");
}

#[test]
fn h22_a_tools_output_kept_open_by_what_it_left_behind_names_the_holder() {
    let poll = event_loop(vec![target(4, Kind::Pipe(7))], Until::Never);
    let mut world = World::new().main_waits(poll);
    let mut left = process(CHILD, 1, "sleep");
    left.orphan = true;
    left.threads[0].wait = Some(Wait::Sleep(timer(500_000)));
    world.sample.processes.push(left);
    world.sample.ends = vec![end(ROOT, 4, 7, true), end(CHILD, 1, 7, false)];
    let world = world.still(11 * MINUTE);
    let found = world.is(Verdict::Stalled, 10 * MINUTE, "sleep (101)");
    assert_eq!(
        found.fix,
        Fix::EndChild {
            pid: CHILD,
            started: 1010
        }
    );
}

#[test]
fn h22_a_background_server_of_an_agent_that_takes_input_is_wanted() {
    let keys = target(0, Kind::Terminal("/dev/pts/1".into()));
    let poll = event_loop(vec![keys, target(4, Kind::Pipe(7))], Until::Never);
    let mut world = World::new().main_waits(poll);
    let mut left = process(CHILD, 1, "node");
    left.orphan = true;
    world.sample.processes.push(left);
    world.sample.ends = vec![end(ROOT, 4, 7, true), end(CHILD, 1, 7, false)];
    world.still(60 * MINUTE).is_never_flagged();
}

#[test]
fn h23_a_tool_that_became_a_server_is_stalled_and_ended() {
    let clients = event_loop(vec![target(9, Kind::Socket(99))], Until::Never);
    let mut world = World::new().with_child("node", clients);
    world.root().name = "bash".into();
    let mut world = world.main_waits(Wait::Read(target(3, Kind::Pipe(7))));
    world.sample.ends = vec![end(ROOT, 3, 7, true), end(CHILD, 1, 7, false)];
    let kind = SocketKind::Tcp(Box::new(listener(3000, 0)));
    world.sample.sockets.push(Socket {
        pid: CHILD,
        fd: 9,
        inode: 99,
        kind,
    });
    let world = world.still(6 * MINUTE);
    let found = world.is(Verdict::Stalled, 5 * MINUTE, "is a server");
    assert_eq!(
        found.fix,
        Fix::EndChild {
            pid: CHILD,
            started: 1010
        }
    );
}

fn unix(world: &mut World, pid: u32, peer: u32) {
    let kind = SocketKind::Unix {
        listens: false,
        peer: Some(peer),
        named: false,
        other: Some(77),
        unread: 0,
    };
    world.sample.sockets.push(Socket {
        pid,
        fd: 5,
        inode: 55,
        kind,
    });
}

#[test]
fn h24_a_client_of_a_stopped_daemon_is_stalled_and_the_client_is_ended() {
    let mut world = World::new().with_child("docker", socket_read());
    unix(&mut world, CHILD, 9);
    world.sample.outsiders = vec![Outsider {
        state: RunState::Stopped,
        ..outsider(9, "dockerd")
    }];
    let world = world.still(6 * MINUTE);
    let found = world.is(Verdict::Stalled, 5 * MINUTE, "dockerd (9), state T");
    assert_eq!(
        found.fix,
        Fix::EndChild {
            pid: CHILD,
            started: 1010
        }
    );
}

#[test]
fn h25_a_dead_child_that_alone_could_answer_is_a_hang() {
    let mut world = World::new()
        .with_child("mcp", parked())
        .main_waits(parked());
    world.sample.processes[1].state = RunState::Zombie;
    world.sample.ends = vec![end(ROOT, 4, 7, true), end(ROOT, 5, 8, false)];
    world.still(80).is(Verdict::Stalled, 60, "is a zombie");
}

#[test]
fn h26_clients_that_nobody_looks_at_show_that_the_sleeper_blocks() {
    let world = World::new()
        .main_waits(Wait::Sleep(timer(99_999_000)))
        .with_tcp(listener(8080, 1))
        .still(150);
    world.is(Verdict::Stalled, 2 * MINUTE, "1 clients wait on port 8080");
}

#[test]
fn h27_burning_without_effect_is_spinning_and_never_more() {
    let world = World::new()
        .main_waits(Wait::Running)
        .passes(60 * MINUTE, |w| burns(w, 0, 0.99));
    world.is(Verdict::Spinning, 5 * MINUTE, "99 % of a core");
    assert!(
        world
            .judgements
            .iter()
            .all(|(_, j)| j.verdict != Verdict::Hung && j.fix == Fix::None)
    );
}

#[test]
fn h27_a_machine_that_grants_little_delays_it_by_what_it_withholds() {
    let world = World::new()
        .main_waits(Wait::Running)
        .passes(60 * MINUTE, |w| {
            w.root().threads[0].run += Duration::from_millis(300);
            w.root().threads[0].ready += Duration::from_millis(4700);
            w.root().threads[0].turns += 1;
        });
    // 6 % of a core, where 20 % are needed.
    world.is(Verdict::Spinning, 17 * MINUTE, "6 % of a core");
    let flagged = world
        .judgements
        .iter()
        .find(|(_, j)| j.verdict == Verdict::Spinning);
    assert!(flagged.is_some_and(|(at, _)| *at > 15 * MINUTE));
}

#[test]
fn h29_eight_bytes_to_itself_are_no_effect() {
    let world = World::new()
        .main_waits(Wait::Running)
        .passes(6 * MINUTE, |w| {
            burns(w, 0, 0.7);
            let io = w.root().io.as_mut().unwrap();
            (io.read, io.written) = (io.read + 8 * 1161, io.written + 8 * 1161);
            (io.reads, io.writes) = (io.reads + 1161, io.writes + 1161);
        });
    world.is(Verdict::Spinning, 5 * MINUTE, "no data, no files");
}

fn prints(world: &mut World, line: &str, repeats: u32) {
    let length = world.sample.outputs.first().map_or(0, |o| o.length) + 20;
    let output = Output {
        path: "/log".into(),
        length,
        last: line.into(),
        repeats,
        lines: 60,
    };
    world.sample.outputs = vec![output];
    let io = world.root().io.as_mut().unwrap();
    io.written += 20;
    io.writes += 1;
}

#[test]
fn h30_a_repeated_line_is_a_sign_of_life_and_no_more() {
    let world = World::new()
        .main_waits(Wait::Sleep(timer(1000)))
        .with_threads(1, &parked())
        .owing()
        .passes(7 * MINUTE, |w| {
            prints(w, "agent running", 60);
            wakes(w);
        });
    world.is(Verdict::Stalled, 6 * MINUTE, "nothing has moved");
    assert!(
        world
            .judgements
            .iter()
            .all(|(_, j)| j.verdict != Verdict::Looping)
    );
}

#[test]
fn h31_watchdog_lines_without_progress_are_stalled() {
    let mut pid = 500;
    let world = World::new()
        .with_child("sleep", Wait::Sleep(timer(900)))
        .owing()
        .passes(12 * MINUTE, |w| {
            // A shell starts a process for each line it sends.
            pid += 1;
            w.sample.processes[1] = process(pid, ROOT, "sleep");
            w.word.last_line_at = Some(w.now());
            let (word, now) = (w.word.clone(), w.now());
            w.machine.handle(Input::SelfReport(word), now);
        });
    world.is(
        Verdict::Stalled,
        10 * MINUTE,
        "reported values do not change",
    );
}

#[test]
fn h32_the_same_reported_action_twenty_times_is_a_loop() {
    let world = World::new().saying(|word| {
        word.repeats = 20;
        word.repeated = "grep foo".into();
    });
    assert_eq!(world.verdict(), Verdict::Looping);
    assert!(world.machine.judgement().sentence.contains("grep foo"));
}

#[test]
fn h32_the_same_call_in_its_output_is_a_loop_though_tokens_are_spent_and_children_come_and_go() {
    let call = r#"{"type":"tool_use","input":{"command":"cat missing.txt"}}"#;
    let mut repeats = 0;
    let world = World::new().passes(10 * MINUTE, |w| {
        repeats += 3;
        prints(w, call, repeats);
        w.sample.processes.truncate(1);
        w.sample
            .processes
            .push(process(CHILD + repeats, ROOT, "cat"));
        w.word.last_progress_at = Some(w.now());
        let (word, now) = (w.word.clone(), w.now());
        w.machine.handle(Input::SelfReport(word), now);
    });
    let (at, first) = world
        .judgements
        .iter()
        .find(|(_, j)| j.verdict == Verdict::Looping)
        .unwrap();
    assert!(
        (90..=3 * MINUTE).contains(at),
        "after {at} s: {}",
        first.sentence
    );
    assert_eq!(world.verdict(), Verdict::Looping, "it stays so");
}

#[test]
fn g26_the_same_failure_at_long_intervals_is_backing_off_and_no_loop() {
    let mut looks = 0;
    let printed =
        World::new()
            .main_waits(Wait::Sleep(timer(90_000)))
            .passes(4 * 60 * MINUTE, |w| {
                looks += 1;
                if looks % 18 == 0 {
                    prints(w, "429, next try in 90 s", looks / 18);
                }
            });
    printed.is_never_flagged();

    let said = World::new().passes(60 * MINUTE, |w| {
        let (seconds, now) = (w.seconds(), w.now());
        w.word.repeats = u32::try_from(seconds / 60).unwrap();
        w.word.repeated = "model: 529".into();
        let word = w.word.clone();
        w.machine.handle(Input::SelfReport(word), now);
    });
    said.is_never_flagged();
}

#[test]
fn g19_the_same_question_asked_seldom_is_patience_and_no_loop() {
    let call = r#"{"type":"tool_use","input":{"command":"status"}}"#;
    let mut looks = 0;
    let world = World::new().passes(60 * MINUTE, |w| {
        looks += 1;
        if looks % 6 == 0 {
            prints(w, call, looks / 6);
            w.sample.processes.truncate(1);
            w.sample.processes.push(process(CHILD + looks, ROOT, "sh"));
        }
    });
    world.is_never_flagged();
}

#[test]
fn small_writes_elsewhere_are_work_though_the_output_repeats_itself() {
    let mut repeats = 0;
    let world = World::new().owing().passes(60 * MINUTE, |w| {
        repeats += 1;
        prints(w, "still at it", repeats);
        // Twenty more than the line: a journal of its own.
        let io = w.root().io.as_mut().unwrap();
        io.written += 20 + 900 * u64::from(repeats % 3 == 0);
    });
    world.is_never_flagged();
}

#[test]
fn h33_the_same_failure_again_and_again_is_a_loop() {
    let world = World::new()
        .main_waits(Wait::Sleep(timer(50)))
        .passes(3 * MINUTE, |w| {
            prints(w, "529 overloaded, retrying", 60);
            wakes(w);
        });
    world.is(Verdict::Looping, 2 * MINUTE, "529 overloaded");
}

#[test]
fn h33_the_page_of_a_log_that_is_written_back_and_dirtied_again_is_no_new_file() {
    let world = World::new()
        .main_waits(Wait::Sleep(timer(50)))
        .passes(3 * MINUTE, |w| {
            prints(w, "529 overloaded, retrying", 60);
            w.root().io.as_mut().unwrap().disk_written += 20 * 1024;
            wakes(w);
        });
    world.is(Verdict::Looping, 2 * MINUTE, "529 overloaded");
}

#[test]
fn h34_done_but_not_exited_is_asked_to_end() {
    let mut world = World::new().main_waits(event_loop(Vec::new(), Until::Never));
    prints(&mut world, r#"{"type":"result","ok":true}"#, 1);
    let world = world.still(40);
    assert_eq!(
        world.is(Verdict::Stalled, 30, "done_not_exited").fix,
        Fix::End
    );
}

#[test]
fn h34_a_stream_of_turns_that_is_done_ends_unless_the_next_turn_can_still_come() {
    let done = |world: World| {
        let world = world.with_tcp(listener(4000, 0)).saying(|word| {
            word.state = Some(DeclaredState::Done);
            word.streams_turns = true;
        });
        world.still(MINUTE)
    };
    let world = done(World::new().main_waits(event_loop(Vec::new(), Until::Never)));
    let found = world.is(Verdict::Stalled, 30, "still there");
    assert_eq!(found.fix, Fix::End);

    let stdin = event_loop(vec![target(0, Kind::Pipe(7))], Until::Never);
    let mut open = World::new().main_waits(stdin);
    open.sample.ends = vec![end(ROOT, 0, 7, true), end(900, 1, 7, false)];
    open.sample.outsiders = vec![outsider(900, "editor")];
    done(open).is_never_flagged();
}

#[test]
fn h35_memory_that_grows_and_h37_children_that_nobody_waits_for_are_told_whatever_the_verdict() {
    let world = World::new()
        .main_waits(Wait::Sleep(timer(200)))
        .passes(5 * MINUTE, |w| w.root().memory += 50 << 20);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Idle);
    let told = |world: &World, signal: &str| {
        let evidence = &world.machine.judgement().evidence;
        evidence.iter().any(|e| e.signal == signal)
    };
    assert!(told(&world, "memory") && !told(&world, "zombies"));

    let mut world = World::new().main_waits(Wait::Sleep(timer(900_000)));
    for n in 0..200 {
        let mut child = process(CHILD + n, ROOT, "true");
        child.state = RunState::Zombie;
        world.sample.processes.push(child);
    }
    let world = world.still(MINUTE);
    assert!(told(&world, "zombies") && !told(&world, "memory"));
}

#[test]
fn h38_a_wait_that_no_signal_ends_is_only_told() {
    let mut world = World::new().main_waits(Wait::Fork);
    world.root().state = RunState::Disk;
    let world = world.still(10 * MINUTE);
    assert_eq!(
        world
            .is(Verdict::Stalled, 2 * MINUTE + 5, "D, it did not even wake")
            .fix,
        Fix::None
    );
}

// --- must never be flagged ---

#[test]
fn g01_ten_minutes_of_thinking_are_a_wait_for_a_model() {
    let world = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .owing()
        .still(10 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::WaitingModel);
}

#[test]
fn g01_answers_that_come_between_two_looks_on_connections_of_their_own_are_answers() {
    let mut inode = 55;
    let world = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .passes(3 * 60 * MINUTE, |w| {
            // Each is asked for nine minutes.
            if w.seconds() / (9 * MINUTE) != inode - 55 {
                inode += 1;
                w.sample.sockets[0].inode = inode;
            }
            w.root().threads[0].wait = Some(Wait::Read(target(5, Kind::Socket(inode))));
        });
    world.is_never_flagged();
}

#[test]
fn g02_equal_tokens_at_a_talking_pace_are_work_though_no_counter_of_the_process_moves() {
    let world = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .passes(60 * MINUTE, |w| {
            w.tcp().received += 12 * 16;
            w.tcp().segments_in += 12;
            wakes(w);
        });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn g04_pings_while_thinking_are_within_the_budget_of_pings() {
    let world = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .passes(13 * MINUTE, |w| {
            w.tcp().received += 13;
            w.tcp().segments_in += 1;
            wakes(w);
        });
    world.is_never_flagged();
}

#[test]
fn g05_processes_that_come_and_go_are_work() {
    let mut pid = 500;
    let world = World::new()
        .with_child("cc", Wait::Running)
        .owing()
        .passes(60 * MINUTE, |w| {
            pid += 1;
            w.sample.processes[1] = process(pid, ROOT, "cc");
        });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn g06_a_child_that_computes_is_work_of_its_parent() {
    let world = World::new()
        .with_child("cc", Wait::Running)
        .passes(60 * MINUTE, |w| {
            burns(w, 1, 1.0);
            w.sample.processes[1].memory += 1 << 20;
        });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn g07_computing_with_reported_progress_is_work() {
    let world = World::new()
        .main_waits(Wait::Running)
        .passes(60 * MINUTE, |w| {
            burns(w, 0, 1.0);
            if w.seconds() % 60 < 5 {
                w.word.last_progress_at = Some(w.now());
                let (word, now) = (w.word.clone(), w.now());
                w.machine.handle(Input::SelfReport(word), now);
            }
        });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn g08_helper_threads_that_compute_are_work() {
    let world = World::new()
        .with_threads(3, &Wait::Running)
        .passes(60 * MINUTE, |w| {
            for thread in &mut w.root().threads[1..] {
                thread.run += Duration::from_secs(2);
                thread.turns += 9;
            }
        });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn g09_a_sleep_until_a_limit_is_over_shows_its_end() {
    let poll = event_loop(
        vec![target(9, Kind::Internal("eventfd".into()))],
        timer(3_600_000),
    );
    let world = World::new().main_waits(poll).owing().still(55 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Sleeping);
    let until = world.machine.judgement().until.unwrap();
    assert!(
        until.since(world.start) <= Duration::from_secs(60 * MINUTE),
        "{until:?}"
    );
}

#[test]
fn g09_who_oversleeps_is_asked_again() {
    let poll = event_loop(
        vec![target(9, Kind::Internal("eventfd".into()))],
        timer(600_000),
    );
    let world = World::new().main_waits(poll).owing().still(12 * MINUTE);
    assert!(world.verdict().is_flag(), "{:?}", world.machine.judgement());
}

#[test]
fn g10_a_tool_that_sleeps_is_asleep() {
    let world = World::new()
        .with_child("sleep", Wait::Sleep(timer(600_000)))
        .owing()
        .still(9 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Sleeping);
}

#[test]
fn g11_an_empty_queue_is_idle_also_under_a_shell_and_when_polled() {
    let world = World::new().with_threads(4, &parked()).still(600 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Idle);
    World::new()
        .with_child("worker", parked())
        .still(600 * MINUTE)
        .is_never_flagged();
    let tcp = Tcp {
        remote_port: 6379,
        ..asked()
    };
    World::new()
        .main_waits(socket_read())
        .with_tcp(tcp)
        .still(600 * MINUTE)
        .is_never_flagged();
    let polled = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .passes(60 * MINUTE, |w| {
            w.tcp().acked += 40;
            w.tcp().received += 5;
            w.tcp().segments_in += 1;
            wakes(w);
        });
    polled.is_never_flagged();
}

#[test]
fn g11_a_queue_that_is_polled_more_often_than_samples_are_taken_owes_nothing() {
    let mut times = [1, 2, 1, 3, 1, 1, 2].into_iter().cycle();
    let polled = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .passes(120 * MINUTE, |w| {
            let asked = times.next().unwrap();
            w.tcp().acked += 26 * asked;
            w.tcp().received += 5 * asked;
            w.tcp().segments_in += asked;
            wakes(w);
        });
    polled.is_never_flagged();
}

#[test]
fn g12_a_service_without_clients_is_idle() {
    let poll = event_loop(vec![target(5, Kind::Socket(55))], timer(29_999));
    let world = World::new()
        .main_waits(poll)
        .with_tcp(listener(8080, 0))
        .passes(600 * MINUTE, wakes);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Idle);
}

#[test]
fn g15_a_writer_that_flickers_in_disk_waits_is_work() {
    let world = World::new().owing().passes(60 * MINUTE, |w| {
        w.root().state = RunState::Disk;
        w.root().io.as_mut().unwrap().disk_written += 1 << 20;
        wakes(w);
    });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn g17_a_peer_that_works_keeps_the_wait_fresh() {
    let mut world = World::new().main_waits(socket_read()).owing();
    unix(&mut world, ROOT, 9);
    world.sample.outsiders = vec![outsider(9, "sub-agent")];
    let world = world.passes(60 * MINUTE, |w| w.sample.outsiders[0].cpu_ticks += 100);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::WaitingModel);
}

#[test]
fn g18_who_asks_for_patience_gets_it() {
    let world = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .owing();
    let until = world.now() + Duration::from_secs(30 * MINUTE);
    let world = world
        .saying(|word| word.expect_until = Some(until))
        .still(29 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Sleeping);
    assert!(world.still(10 * MINUTE).verdict().is_flag());
}

#[test]
fn g19_polling_with_new_answers_is_work() {
    let world = World::new()
        .main_waits(Wait::Sleep(timer(1000)))
        .owing()
        .passes(60 * MINUTE, |w| {
            prints(w, "status: 17 % done", 1);
            wakes(w);
        });
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Working);
}

#[test]
fn g21_a_debugger_pauses_everything() {
    let mut world = World::new().owing();
    world.root().tracer = Some(9);
    world.root().state = RunState::Traced;
    let world = world.still(60 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Paused);
}

#[test]
fn g22_time_in_which_the_machine_starves_the_agent_hardly_counts() {
    let world = World::new()
        .main_waits(Wait::Running)
        .owing()
        .passes(60 * MINUTE, |w| {
            w.root().threads[0].ready += Duration::from_millis(4900);
            w.root().threads[0].run += Duration::from_millis(50);
            w.root().threads[0].turns += 1;
        });
    world.is_never_flagged();
}

#[test]
fn g23_time_in_which_the_machine_slept_does_not_count() {
    let mut world = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .owing()
        .still(60);
    world.sample.at = world.now() + Duration::from_secs(8 * 60 * MINUTE);
    world.sample.host.suspended = Duration::from_secs(8 * 60 * MINUTE);
    world.look();
    let world = world.still(4 * MINUTE);
    world.is_never_flagged();
}

#[test]
fn g23_an_observer_that_was_late_blames_nobody() {
    let mut world = World::new()
        .owing()
        .main_waits(event_loop(Vec::new(), Until::Never));
    for _ in 0..3 {
        world.sample.at = world.now() + Duration::from_secs(1000);
        world.look();
    }
    world.is_never_flagged();
}

#[test]
fn g24_a_frozen_group_is_paused() {
    let mut world = World::new().owing();
    world.root().frozen = true;
    let world = world.still(60 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Paused);
}

#[test]
fn a_resting_connection_that_the_peer_closed_is_no_hang() {
    let tcp = Tcp {
        state: TcpState::CloseWait,
        received: 5000,
        received_ago: Duration::from_secs(1),
        sent_ago: Duration::from_secs(2),
        unread: Some(24),
        ..asked()
    };
    World::new()
        .with_tcp(tcp)
        .still(60 * MINUTE)
        .is_never_flagged();
}

#[test]
fn a_person_who_is_asked_is_waited_for_whatever_else_is_seen() {
    let world = World::new()
        .with_threads(2, &parked())
        .saying(|word| {
            word.task_owed = true;
            word.state = Some(DeclaredState::WaitingInput);
        })
        .still(60 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::WaitingInput);
}

#[test]
fn what_cannot_be_read_is_unknown_and_flags_nothing() {
    let mut world = World::new()
        .main_waits(Wait::Unreadable(Why::Denied))
        .owing();
    world.sample.gaps = vec![Gap {
        subject: Subject::Process(ROOT),
        what: GapKind::Waits,
        why: Why::Denied,
    }];
    let world = world.still(60 * MINUTE);
    assert_eq!(world.is_never_flagged().verdict(), Verdict::Unknown);
}

#[test]
fn progress_ends_a_flag() {
    let world = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .still(12 * MINUTE);
    assert_eq!(world.verdict(), Verdict::Stalled);
    let world = world.passes(10, |w| {
        w.tcp().received += 4000;
        w.tcp().segments_in += 3;
    });
    assert_eq!(world.verdict(), Verdict::Working);
}

#[test]
fn patience_multiplies_every_waiting_time() {
    for patience in [0.05, 1.0, 3.0] {
        let settings = Settings {
            patience: Patience::new(patience).unwrap(),
            ..Settings::default()
        };
        let hour = (3600.0 * patience) as u64;
        let world = World::with(settings)
            .main_waits(socket_read())
            .with_tcp(asked())
            .still(hour);
        let found = world
            .judgements
            .iter()
            .find(|(_, j)| j.verdict == Verdict::Stalled);
        let at = found.map(|(at, _)| *at as f64 / patience).unwrap();
        assert!((600.0..=700.0).contains(&at), "patience {patience}: {at}");
    }
}

#[test]
fn a_new_incarnation_is_judged_anew() {
    let mut world = World::new()
        .main_waits(socket_read())
        .with_tcp(asked())
        .still(9 * MINUTE);
    world.root().started += 1;
    world.still(9 * MINUTE).is_never_flagged();
}
