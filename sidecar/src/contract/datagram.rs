//! `NOTIFY_SOCKET`: sd_notify as systemd implements it. Senders get no answer; file descriptors that come along are closed,
//! which is what `BARRIER=1` waits for.

use super::intake::{Intake, Taken};
use super::sender::{IsOfTree, Sender};
use heartbeat::contract::line::{LINE_BYTES_MAX, LineError};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg, sockopt,
};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::task::AbortHandle;

/// Takes datagrams until it is aborted.
pub(super) fn listen(
    socket: OwnedFd,
    intake: &Arc<Intake>,
    is_of_tree: IsOfTree,
) -> io::Result<AbortHandle> {
    // The kernel names the sender of each datagram.
    sockopt::set_socket_passcred(&socket, true)?;
    let socket = UnixDatagram::from_std(socket.into())?;
    let intake = Arc::clone(intake);
    let task = async move {
        loop {
            let received = socket.async_io(Interest::READABLE, || {
                receive(&socket, &intake, &is_of_tree)
            });
            if let Err(error) = received.await {
                intake.warn_once("datagram", || {
                    format!("cannot read from NOTIFY_SOCKET: {error}")
                });
            }
            // A flood is taken in turns with everything else.
            tokio::task::yield_now().await;
        }
    };
    Ok(tokio::spawn(task).abort_handle())
}

fn receive(socket: impl AsFd, intake: &Intake, is_of_tree: &IsOfTree) -> io::Result<()> {
    let mut bytes = [0; LINE_BYTES_MAX + 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1), ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        flags,
    )?;
    let mut sender = None;
    // To the end, and not by `find_map`: a buffer that is drained halfway reads its next message at a wrong offset.
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmCredentials(of) => {
                sender = Some(Sender {
                    pid: Some(of.pid.as_raw_pid()),
                    uid: of.uid.as_raw(),
                });
            }
            // Unexpected descriptors are closed as they are dropped.
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.for_each(drop),
            _ => {}
        }
    }
    let refusal = match sender {
        Some(sender) => sender.refusal(is_of_tree),
        None => Some("a datagram came without its sender's name".to_owned()),
    };
    if let Some(why) = refusal {
        intake.foreign_sender(&why);
        return Ok(());
    }
    let cut_off = received.flags.contains(ReturnFlags::TRUNC) || received.bytes > LINE_BYTES_MAX;
    let taken = match bytes.get(..received.bytes) {
        // It asks only that its descriptor be closed, and reports nothing.
        Some(line) if line.trim_ascii() == b"BARRIER=1" => Taken::Good,
        Some(line) if !cut_off => intake.take(line, sender.and_then(|sender| sender.pid)),
        Some(_) | None => intake.refuse(LineError::TooLong),
    };
    match taken {
        Taken::Good | Taken::Refused(_) | Taken::Excess => Ok(()), // there is no way back
    }
}
