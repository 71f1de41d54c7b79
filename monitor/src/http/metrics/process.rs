//! hbmonitor's own process, in the names that every exporter uses.

use super::text::{Kind, Page};
use nix::sys::resource::{Resource, getrlimit};
use procfs::process::Process;

/// Writes them; what the kernel does not show is left out.
pub(super) fn write(page: &mut Page) {
    let Ok(own) = Process::myself() else { return };
    if let Ok(stat) = own.stat() {
        let ticks = procfs::ticks_per_second();
        let used = (stat.utime + stat.stime) as f64 / ticks as f64;
        page.single(
            "process_cpu_seconds_total",
            Kind::Counter,
            "Processor time that hbmonitor has used.",
            used,
        );
        page.single(
            "process_resident_memory_bytes",
            Kind::Gauge,
            "Resident memory of hbmonitor.",
            stat.rss.saturating_mul(procfs::page_size()),
        );
        page.single(
            "process_threads",
            Kind::Gauge,
            "Threads of hbmonitor.",
            stat.num_threads,
        );
        if let Ok(boot) = procfs::boot_time_secs() {
            page.single(
                "process_start_time_seconds",
                Kind::Gauge,
                "When hbmonitor started.",
                boot as f64 + stat.starttime as f64 / ticks as f64,
            );
        }
    }
    if let Ok(open) = own.fd_count() {
        page.single(
            "process_open_fds",
            Kind::Gauge,
            "Descriptors that hbmonitor has open.",
            open,
        );
    }
    if let Ok((most, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        page.single(
            "process_max_fds",
            Kind::Gauge,
            "Descriptors that it may have open.",
            most,
        );
    }
}
