//! The ordinary days of an operator: one story a test, with real programs and a real Redis. After every operation the fleet
//! shows the truth, each change is announced once and in order, and no honest beat is thrown away.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set up must stop"
)]
#![expect(clippy::disallowed_methods, reason = "tests run the real world")]

#[path = "../support/mod.rs"]
mod support;

mod asked_to_stop;
mod figures;
mod harness;
mod healthcheck;
mod machine;
mod monitor_again;
mod new_runs;
mod no_process;
mod other_places;
mod pauses;
mod pods;
mod seed;
mod short_runs;
mod stores;
mod takeovers;
mod uptime;
mod week;
