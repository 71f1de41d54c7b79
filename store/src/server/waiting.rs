//! Bytes that wait in one client's connection, and in those of all clients together: replies that it has not read, and what it
//! has sent that was not carried out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The share of one client. What it holds is given back with its end.
#[derive(Debug)]
pub(super) struct Waiting {
    own: AtomicUsize,
    all: Arc<AtomicUsize>,
}

impl Waiting {
    pub(super) fn new(all: &Arc<AtomicUsize>) -> Self {
        Self {
            own: AtomicUsize::new(0),
            all: Arc::clone(all),
        }
    }

    /// Returns what waits for this client now.
    pub(super) fn add(&self, bytes: usize) -> usize {
        self.all.fetch_add(bytes, Ordering::Relaxed);
        self.own.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    pub(super) fn remove(&self, bytes: usize) {
        self.own.fetch_sub(bytes, Ordering::Relaxed);
        self.all.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(super) fn own(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }

    /// Of all clients.
    pub(super) fn all(&self) -> usize {
        self.all.load(Ordering::Relaxed)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own(), Ordering::Relaxed);
    }
}
