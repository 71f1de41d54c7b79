//! The store of a machine that has none: a RESP subset on loopback, in memory, gone with the process.
//!
//! One task owns all data (`server`); what the commands mean (`commands`, `scripts`) and what they change (`keyspace`) is
//! pure: time is an argument. `resp` guards the border and speaks both versions of the protocol.

mod commands;
mod keyspace;
mod resp;
mod scripts;
mod server;

pub use server::{Limits, ServeError, serve};
