//! The socket between agent and deleter: whole packets (`SOCK_SEQPACKET`), with handles (`SCM_RIGHTS`, unix(7)).
//!
//! In: a value and handles. Out: the same on the other side. Must never: hand on a packet that was cut short.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest packet, bytes. [`super::order::MAX_PATHS`] of paths, one path more, and 150 bytes for each claim fit twice;
/// a socket's buffer holds 208 KiB by default (`net.core.wmem_default`).
pub(super) const MAX_BYTES: usize = 128 << 10;

/// Handles in one packet: the kernel's `SCM_MAX_FD` is 253.
pub(super) const MAX_HANDLES: usize = 250;

/// A socket that broke, or does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// A call failed.
    #[error("the socket between agent and deleter: {0}")]
    Socket(#[from] Errno),
    /// Longer than any honest packet, or with more handles.
    #[error("a packet was cut short")]
    Cut,
    /// Does not convert.
    #[error("a packet between agent and deleter: {0}")]
    Content(#[from] postcard::Error),
}

/// Sends one packet.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    value: &impl Serialize,
    handles: &[BorrowedFd<'_>],
) -> Result<(), PacketError> {
    let bytes = postcard::to_allocvec(value)?;
    if bytes.len() > MAX_BYTES || handles.len() > MAX_HANDLES {
        return Err(PacketError::Cut);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_HANDLES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !handles.is_empty() && !control.push(SendAncillaryMessage::ScmRights(handles)) {
        return Err(PacketError::Cut);
    }
    let flags = SendFlags::NOSIGNAL;
    let sent = rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags))?;
    if sent == bytes.len() { Ok(()) } else { Err(PacketError::Cut) }
}

/// Waits for one packet. `None`: the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> Result<Option<(T, Vec<OwnedFd>)>, PacketError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_HANDLES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received =
        rustix::io::retry_on_intr(|| recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags));
    let received = match received {
        Err(Errno::CONNRESET) => return Ok(None),
        received => received?,
    };
    let mut handles = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            handles.extend(more);
        }
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(PacketError::Cut);
    }
    match buffer.get(..received.bytes) {
        None | Some([]) => Ok(None),
        Some(bytes) => Ok(Some((postcard::from_bytes(bytes)?, handles))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn packets_come_whole_with_their_handles_and_then_the_end() {
        let (here, there) = pair();
        let file = File::open("/").unwrap();
        let handles = vec![file.as_fd(); MAX_HANDLES];
        send(here.as_fd(), &vec![7_u8; 100_000], &handles).unwrap();
        send(here.as_fd(), &vec![8_u8], &[]).unwrap();
        drop(here);
        let mut buffer = vec![0; MAX_BYTES];
        let (bytes, handles) = receive::<Vec<u8>>(there.as_fd(), &mut buffer).unwrap().unwrap();
        assert_eq!((bytes.len(), handles.len()), (100_000, MAX_HANDLES));
        let (bytes, handles) = receive::<Vec<u8>>(there.as_fd(), &mut buffer).unwrap().unwrap();
        assert_eq!((bytes, handles.len()), (vec![8], 0));
        assert!(receive::<Vec<u8>>(there.as_fd(), &mut buffer).unwrap().is_none());
    }

    #[test]
    fn what_does_not_fit_is_not_sent_and_what_was_cut_is_not_taken() {
        let (here, there) = pair();
        assert!(matches!(send(here.as_fd(), &vec![0_u8; MAX_BYTES], &[]), Err(PacketError::Cut)));
        send(here.as_fd(), &vec![7_u8; 100], &[]).unwrap();
        assert!(matches!(receive::<Vec<u8>>(there.as_fd(), &mut [0; 50]), Err(PacketError::Cut)));
    }
}
