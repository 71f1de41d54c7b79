//! The rooms of the status contract by themselves, before the hub knows them; their tests stand beside their code.
#![expect(dead_code, reason = "here only tests use them")]

#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/contract/mod.rs"]
mod contract;
#[path = "../src/hooks.rs"]
mod hooks;
#[path = "../src/notify.rs"]
mod notify;
#[path = "../src/stream.rs"]
mod stream;

/// The exit codes of the program, which has more of them.
mod config {
    pub(crate) mod exit {
        pub(crate) const USAGE: u8 = 2;
        pub(crate) const OWN_FAILURE: u8 = 125;
    }
}
