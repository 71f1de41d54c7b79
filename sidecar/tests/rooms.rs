//! The rooms of the status contract by themselves, before the hub knows them; their tests stand beside their code.
#![expect(dead_code, reason = "here only tests use them")]
#![expect(clippy::unwrap_used, reason = "a test that cannot set up must stop")]

#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/contract/mod.rs"]
mod contract;
