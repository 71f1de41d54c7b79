//! The embedded store: the subset of Redis that hb needs, on loopback, in memory; its data is lost with the process.
//!
//! One task (`server`) owns all data. `commands` and `scripts` implement the commands, `keyspace` holds the keys; they are
//! pure, with time as an argument. `resp` parses and writes both versions of the protocol and bounds what it parses.
//!
//! Deliberately absent: persistence, passwords, more than one database, scripts other than hb's own.

mod commands;
mod keyspace;
mod resp;
mod scripts;
mod server;

pub use server::{Limits, ServeError, serve};
