//! Evidence, verdict, diagnosis and fixes against real processes.
#![expect(
    dead_code,
    reason = "the rooms are compiled into this test; the hub uses the rest of them"
)]

#[path = "../src"]
#[expect(unreachable_pub, reason = "the hub is not compiled into this test")]
mod rooms {
    pub(crate) mod clock;
    pub(crate) mod diagnose;
    pub(crate) mod evidence;
    pub(crate) mod unblock;
}
use rooms::{clock, evidence};
mod config {
    pub(crate) mod exit {
        pub(crate) const OWN_FAILURE: u8 = 125;
    }
}
