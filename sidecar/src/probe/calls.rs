//! System call numbers of the two machines hb runs on, as what a thread in them waits for.

/// What a system call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Descriptor in the first argument.
    Read,
    Write,
    /// The first argument receives, the second is read.
    Sendfile,
    /// Moves from the first argument to the third.
    Splice,
    /// Copies from the first argument to the second.
    Tee,
    Accept,
    Connect,
    Sync,
    /// The lock commands of `fcntl` wait, the others do not.
    Fcntl,
    Flock,
    Poll,
    Ppoll,
    /// With a `timeval`.
    Select,
    /// With a `timespec`.
    Pselect,
    /// With milliseconds.
    Epoll,
    /// With a `timespec`.
    Epoll2,
    Nanosleep,
    ClockNanosleep,
    Futex,
    FutexWait,
    FutexWaitv,
    /// The process number stands in the first argument.
    Wait4,
    /// Kind and number stand in the first two arguments.
    Waitid,
    Fork,
    Signal,
    SignalTimed,
    Other,
}

/// The call of this number on the machine this program was built for.
pub(super) fn call(number: u64) -> Call {
    TABLE
        .iter()
        .find(|(n, _)| *n == number)
        .map_or(Call::Other, |(_, call)| *call)
}

#[cfg(target_arch = "x86_64")]
const TABLE: &[(u64, Call)] = X86_64;
#[cfg(target_arch = "aarch64")]
const TABLE: &[(u64, Call)] = AARCH64;
/// Of another machine no number is known: every wait is `Other`, and nothing is concluded from it.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const TABLE: &[(u64, Call)] = &[];

/// The most frequent first: the table is searched from the front.
#[cfg(any(target_arch = "x86_64", test))]
const X86_64: &[(u64, Call)] = &[
    (202, Call::Futex),
    (232, Call::Epoll),
    (281, Call::Epoll),
    (441, Call::Epoll2),
    (7, Call::Poll),
    (271, Call::Ppoll),
    (23, Call::Select),
    (270, Call::Pselect),
    (0, Call::Read),
    (1, Call::Write),
    (61, Call::Wait4),
    (247, Call::Waitid),
    (230, Call::ClockNanosleep),
    (35, Call::Nanosleep),
    (45, Call::Read),   // recvfrom
    (47, Call::Read),   // recvmsg
    (299, Call::Read),  // recvmmsg
    (19, Call::Read),   // readv
    (17, Call::Read),   // pread64
    (295, Call::Read),  // preadv
    (327, Call::Read),  // preadv2
    (44, Call::Write),  // sendto
    (46, Call::Write),  // sendmsg
    (307, Call::Write), // sendmmsg
    (20, Call::Write),  // writev
    (18, Call::Write),  // pwrite64
    (296, Call::Write), // pwritev
    (328, Call::Write), // pwritev2
    (40, Call::Sendfile),
    (275, Call::Splice),
    (276, Call::Tee),
    (43, Call::Accept),
    (288, Call::Accept), // accept4
    (42, Call::Connect),
    (74, Call::Sync),
    (75, Call::Sync),  // fdatasync
    (277, Call::Sync), // sync_file_range
    (72, Call::Fcntl),
    (73, Call::Flock),
    (449, Call::FutexWaitv),
    (455, Call::FutexWait),
    (56, Call::Fork),    // clone
    (57, Call::Fork),    // fork
    (58, Call::Fork),    // vfork
    (435, Call::Fork),   // clone3
    (34, Call::Signal),  // pause
    (130, Call::Signal), // rt_sigsuspend
    (128, Call::SignalTimed),
];

#[cfg(any(target_arch = "aarch64", test))]
const AARCH64: &[(u64, Call)] = &[
    (98, Call::Futex),
    (22, Call::Epoll),
    (441, Call::Epoll2),
    (73, Call::Ppoll),
    (72, Call::Pselect),
    (63, Call::Read),
    (64, Call::Write),
    (260, Call::Wait4),
    (95, Call::Waitid),
    (115, Call::ClockNanosleep),
    (101, Call::Nanosleep),
    (207, Call::Read),  // recvfrom
    (212, Call::Read),  // recvmsg
    (243, Call::Read),  // recvmmsg
    (65, Call::Read),   // readv
    (67, Call::Read),   // pread64
    (69, Call::Read),   // preadv
    (286, Call::Read),  // preadv2
    (206, Call::Write), // sendto
    (211, Call::Write), // sendmsg
    (269, Call::Write), // sendmmsg
    (66, Call::Write),  // writev
    (68, Call::Write),  // pwrite64
    (70, Call::Write),  // pwritev
    (287, Call::Write), // pwritev2
    (71, Call::Sendfile),
    (76, Call::Splice),
    (77, Call::Tee),
    (202, Call::Accept),
    (242, Call::Accept), // accept4
    (203, Call::Connect),
    (82, Call::Sync),
    (83, Call::Sync), // fdatasync
    (84, Call::Sync), // sync_file_range
    (25, Call::Fcntl),
    (32, Call::Flock),
    (449, Call::FutexWaitv),
    (455, Call::FutexWait),
    (220, Call::Fork),   // clone
    (435, Call::Fork),   // clone3
    (133, Call::Signal), // rt_sigsuspend
    (137, Call::SignalTimed),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_has_two_meanings() {
        for table in [X86_64, AARCH64] {
            let mut numbers: Vec<u64> = table.iter().map(|(n, _)| *n).collect();
            numbers.sort_unstable();
            let all = numbers.len();
            numbers.dedup();
            assert_eq!(numbers.len(), all);
        }
    }

    #[test]
    fn both_machines_know_the_same_waits() {
        for call in [
            Call::Read,
            Call::Futex,
            Call::Epoll,
            Call::Epoll2,
            Call::Ppoll,
            Call::Pselect,
            Call::Wait4,
            Call::Waitid,
            Call::ClockNanosleep,
            Call::Flock,
            Call::Connect,
            Call::Fork,
        ] {
            for table in [X86_64, AARCH64] {
                assert!(table.iter().any(|(_, c)| *c == call), "{call:?}");
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_table_agrees_with_the_headers_of_this_machine() {
        use nix::libc;
        for (number, expected) in [
            (libc::SYS_futex, Call::Futex),
            (libc::SYS_epoll_pwait2, Call::Epoll2),
            (libc::SYS_recvmmsg, Call::Read),
            (libc::SYS_sendmmsg, Call::Write),
            (libc::SYS_preadv2, Call::Read),
            (libc::SYS_pwritev2, Call::Write),
            (libc::SYS_sync_file_range, Call::Sync),
            (libc::SYS_rt_sigtimedwait, Call::SignalTimed),
            (libc::SYS_rt_sigsuspend, Call::Signal),
            (libc::SYS_sendfile, Call::Sendfile),
            (libc::SYS_splice, Call::Splice),
            (libc::SYS_tee, Call::Tee),
            (libc::SYS_vfork, Call::Fork),
            (libc::SYS_accept4, Call::Accept),
            (libc::SYS_futex_waitv, Call::FutexWaitv),
        ] {
            assert_eq!(call(number as u64), expected, "{number}");
        }
    }
}
