//! The wake-up graph: which threads can never run again, and why. The only proof there is.
//!
//! A thread is *doomed* when none of the things that could wake it can happen; what cannot be enumerated can happen. Threads
//! that run, have a time limit, or can be woken from outside the tree are live, and so is every thread that a live one can
//! wake. The rest is doomed: the least fixpoint, as a garbage collector finds what is dead.
//!
//! Deliberately absent: the owner of a mutex as memory shows it (a hint, never a premise), what the agent reports or prints,
//! and signals that ask it to end (INT, QUIT, TERM) or end a child from outside the tree, which can never be ruled out.

mod graph;
mod sentence;
mod sources;
#[cfg(test)]
mod tests;
mod watch;

pub(in crate::verdict) use watch::DoomWatch;

pub use graph::{Doom, DoomedThread, doom};
pub use sources::{Outside, Source};
