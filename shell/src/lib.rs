//! hbshell: what hbsidecar and hbmonitor both need of their machine. One copy, used by both.
//!
//! Deliberately absent: anything that only one program needs, and every decision, which belongs to `heartbeat`.

pub mod clock;
pub mod command_line;
pub mod descriptors;
pub mod left_exits;
pub mod log;
pub mod log_writer;
pub mod pages;
pub mod private_dir;
pub mod process_group;
pub mod runtime;
pub mod service_manager;
pub mod store;
pub mod tls;
pub mod tries;
