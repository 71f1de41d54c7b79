//! `struct tcp_info` as the kernel lays it out, by offset: an older kernel gives a shorter one.

use heartbeat::verdict::sample::{Tcp, TcpState};
use std::time::Duration;

/// The part that is read, in bytes.
pub(super) const INFO_BYTES: usize = 160;

/// What the kernel reports about a connection. None when it is too short to hold anything.
pub(super) fn tcp(info: &[u8]) -> Option<Tcp> {
    let word = |at: usize| {
        let bytes = info.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    let long = |at: usize| {
        let bytes = info.get(at..at + 8)?.try_into().ok()?;
        Some(u64::from_ne_bytes(bytes))
    };
    let ago = |at: usize| word(at).map(|millis| Duration::from_millis(u64::from(millis)));
    Some(Tcp {
        state: state(*info.first()?),
        retransmits: u32::from(*info.get(2)?),
        probes: u32::from(*info.get(3)?),
        unacked: word(24)?,
        sent_ago: ago(44)?,
        received_ago: ago(52)?,
        acked_ago: ago(56)?,
        acked: long(120).unwrap_or(0),
        received: long(128).unwrap_or(0),
        segments_in: word(152).map_or(0, u64::from),
        ..Tcp::default()
    })
}

/// The kernel's number of a state.
pub(super) fn state(number: u8) -> TcpState {
    match number {
        1 => TcpState::Established,
        2 => TcpState::SynSent,
        8 => TcpState::CloseWait,
        10 => TcpState::Listen,
        _ => TcpState::Closing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_kernels_short_answer_still_has_its_ages() {
        let mut info = vec![0; 104];
        info[0] = 8;
        info[3] = 4;
        info[52..56].copy_from_slice(&32_800_u32.to_ne_bytes());
        let tcp = tcp(&info).unwrap();
        assert_eq!((tcp.state, tcp.probes), (TcpState::CloseWait, 4));
        assert_eq!(tcp.received_ago, Duration::from_millis(32_800));
        assert_eq!(tcp.received, 0);
    }

    #[test]
    fn an_answer_of_a_few_bytes_is_none() {
        assert_eq!(tcp(&[1, 0, 0]), None);
    }
}
