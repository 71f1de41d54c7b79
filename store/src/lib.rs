//! The embedded store: the subset of Redis that hb needs, on loopback. Keys without a time to live, or with one of an hour at
//! least, are kept on disk.
//!
//! One task (`server`) owns all data. `commands` and `scripts` implement the commands, `keyspace` holds the keys, `changes`
//! names what is to be written; they are pure, with time as an argument. `resp` parses and writes both versions of the
//! protocol and bounds what it parses. `disk` is the file, `keeper` the thread that writes it.
//!
//! Deliberately absent: passwords, more than one database, scripts other than hb's own, and a file of our own format.

mod changes;
mod commands;
mod disk;
mod keeper;
mod keyspace;
mod resp;
mod scripts;
mod server;

pub use disk::{KeepError, Kept};
pub use server::{Limits, ServeError, serve};
