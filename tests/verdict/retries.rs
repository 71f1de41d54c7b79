//! Clients with a time limit of their own, which give up and ask again: asking is no progress, an answer is.

use super::{MINUTE, World, asked, event_loop, target, timer, wakes};
use heartbeat::verdict::sample::{Kind, Socket, SocketKind, Tcp};
use heartbeat::wire::beat::Verdict;
use std::time::Duration;

const REQUEST: u64 = 48_000;
/// What a server sends before it is asked anything, over TLS.
const GREETING: u64 = 3_200;

/// What a client does and gets, in time since its start.
#[derive(Clone, Copy)]
struct Client {
    /// After this much silence an attempt ends.
    limit: u64,
    /// And the next one begins.
    pause: u64,
    /// What each answer has, in bytes, and the attempt that is the first to get one.
    answer: u64,
    answered_from: u64,
    /// What is printed when an attempt ends.
    words: u64,
    known: bool,
    /// By how much each request is longer than the one before.
    grows: u64,
    /// All attempts go over one connection.
    one_connection: bool,
}

const PATIENT: Client = Client {
    limit: 60,
    pause: 5,
    answer: 0,
    answered_from: 0,
    words: 0,
    known: true,
    grows: 0,
    one_connection: false,
};

impl Client {
    fn runs(self, seconds: u64) -> World {
        let sources = vec![target(9, Kind::Internal("eventfd".into()))];
        let mut world = World::new()
            .main_waits(event_loop(sources, timer(900)))
            .owing();
        (world.root().agent, world.root().headless) = (self.known, self.known);
        world.passes(seconds, |w| self.step(w))
    }

    /// Each look, five seconds after the one before.
    fn step(self, world: &mut World) {
        wakes(world);
        let (attempt, at) = (
            world.seconds() / (self.limit + self.pause),
            world.seconds() % (self.limit + self.pause),
        );
        if !self.one_connection {
            world.sample.sockets.clear();
        }
        if at >= self.limit {
            if at < self.limit + 5 {
                self.writes(world, self.words);
            }
            if self.one_connection {
                self.ages(world);
            }
            return;
        }
        if at < 5 {
            self.writes(world, REQUEST + self.grows * attempt);
        }
        let is_answered = self.answer > 0 && attempt >= self.answered_from && at >= 5;
        // Each attempt that is given up is cancelled in a few bytes.
        let before = if self.one_connection { attempt } else { 0 };
        let tcp = Tcp {
            acked: REQUEST * (before + 1) + 13 * before + self.grows * attempt,
            received: GREETING
                + 9 * before
                + if is_answered {
                    self.answer * (before + 1)
                } else {
                    0
                },
            sent_ago: Duration::from_millis(1000 * at + 900),
            // The last ticket of the handshake follows the request.
            received_ago: Duration::from_millis(if is_answered {
                1000 * at - 4500
            } else {
                1000 * at + 880
            }),
            ..asked()
        };
        world.sample.sockets.clear();
        world.sample.sockets.push(Socket {
            pid: super::ROOT,
            fd: 5,
            inode: 55 + attempt - before,
            kind: SocketKind::Tcp(Box::new(tcp)),
        });
    }

    fn ages(self, world: &mut World) {
        let tcp = world.tcp();
        tcp.sent_ago += Duration::from_secs(5);
        tcp.received_ago += Duration::from_secs(5);
    }

    fn writes(self, world: &mut World, bytes: u64) {
        let io = world.root().io.as_mut().unwrap();
        (io.written, io.writes) = (io.written + bytes, io.writes + u64::from(bytes > 0));
    }
}

#[test]
fn h_a_client_that_gives_up_each_minute_and_asks_again_for_ever_is_stalled() {
    let world = PATIENT.runs(13 * MINUTE);
    world.is(
        Verdict::Stalled,
        11 * MINUTE + 10,
        "no response from 192.0.2.1:443",
    );
}

#[test]
fn h_what_it_says_about_each_attempt_is_no_progress() {
    let client = Client {
        words: 1500,
        ..PATIENT
    };
    client
        .runs(13 * MINUTE)
        .is(Verdict::Stalled, 11 * MINUTE + 10, "no response");
}

#[test]
fn h_asking_again_on_the_same_connection_is_no_progress_either() {
    for words in [0, 1500] {
        let client = Client {
            one_connection: true,
            words,
            ..PATIENT
        };
        client
            .runs(13 * MINUTE)
            .is(Verdict::Stalled, 11 * MINUTE + 10, "no response");
    }
}

#[test]
fn h_a_long_limit_of_its_own_is_waited_for_twice() {
    let client = Client {
        limit: 600,
        ..PATIENT
    };
    client
        .runs(25 * MINUTE)
        .is(Verdict::Stalled, 23 * MINUTE, "no response");
}

#[test]
fn g_each_answer_is_progress_however_much_the_questions_are_alike() {
    for (known, one_connection) in [(true, false), (false, false), (true, true), (false, true)] {
        let client = Client {
            answer: 900,
            known,
            one_connection,
            ..PATIENT
        };
        client.runs(40 * MINUTE).is_never_flagged();
    }
}

#[test]
fn g_an_answer_that_no_sample_shows_makes_the_next_request_longer() {
    let client = Client {
        grows: 200,
        limit: 300,
        ..PATIENT
    };
    client.runs(40 * MINUTE).is_never_flagged();
}

#[test]
fn g_a_program_that_hb_does_not_know_may_have_got_each_answer_between_two_samples() {
    let client = Client {
        known: false,
        limit: 300,
        ..PATIENT
    };
    client.runs(40 * MINUTE).is_never_flagged();
}

#[test]
fn g_a_peer_that_closes_twice_after_six_minutes_and_then_answers_is_waited_for() {
    let client = Client {
        limit: 350,
        answer: 4000,
        answered_from: 2,
        ..PATIENT
    };
    client.runs(16 * MINUTE).is_never_flagged();
}
