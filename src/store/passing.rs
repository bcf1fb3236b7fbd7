//! Descriptors over a Unix socket (`SCM_RIGHTS`).
//!
//! A descriptor travels with one byte of its own, ahead of everything else on the socket, so that the framed stream
//! behind it never has to look for one.

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The byte that carries the descriptor.
const CARRIER: u8 = b'p';

/// Sends `descriptor` over `socket`, which must be empty in this direction so that this cannot block.
pub fn send_descriptor(socket: impl AsFd, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    let fits = ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
    debug_assert!(fits, "the space is measured for one descriptor");
    sendmsg(socket, &[IoSlice::new(&[CARRIER])], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one descriptor from `socket`; waits for it if the socket blocks.
pub fn receive_descriptor(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut byte = [0_u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(&socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut passed = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    match passed.next().and_then(|mut descriptors| descriptors.next()) {
        Some(descriptor) if byte == [CARRIER] && !received.flags.contains(ReturnFlags::CTRUNC) => Ok(descriptor),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_travels_ahead_of_the_stream() {
        let (mut near, mut far) = UnixStream::pair().expect("a socket pair");
        let (mut reader, writer) = io::pipe().expect("a pipe");
        send_descriptor(&near, writer.as_fd()).expect("sent");
        near.write_all(b"behind").expect("written");
        drop((near, writer));
        let mut passed = std::fs::File::from(receive_descriptor(&far).expect("received"));
        passed.write_all(b"through").expect("the pipe is open");
        drop(passed);
        let (mut piped, mut streamed) = (String::new(), String::new());
        reader.read_to_string(&mut piped).expect("read");
        far.read_to_string(&mut streamed).expect("read");
        assert_eq!((&*piped, &*streamed), ("through", "behind"));
    }

    #[test]
    fn a_stream_without_a_descriptor_is_refused() {
        let (mut near, far) = UnixStream::pair().expect("a socket pair");
        near.write_all(b"p").expect("written");
        assert_eq!(receive_descriptor(&far).expect_err("no descriptor").kind(), io::ErrorKind::InvalidData);
        drop(near);
        assert_eq!(receive_descriptor(&far).expect_err("no peer").kind(), io::ErrorKind::UnexpectedEof);
    }
}
