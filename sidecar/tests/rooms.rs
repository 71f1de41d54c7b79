//! The rooms of the status contract by themselves, before the hub knows them; their tests stand beside their code.
#![expect(dead_code, reason = "here only tests use them")]

#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/contract/mod.rs"]
mod contract;
#[path = "../src/stream.rs"]
mod stream;
