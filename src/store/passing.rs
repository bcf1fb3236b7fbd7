//! Descriptors over a Unix socket (`SCM_RIGHTS`).
//!
//! The page's descriptor travels with one byte of its own, ahead of everything else on the socket. Those of large
//! segments travel with the stream: [`Departures`] sends each with the frame that announces it or a little earlier, and
//! [`Arrivals`] keeps it until that frame is read. The kernel keeps their order, and never delivers bytes before the
//! descriptors that were sent with them.

use super::blob::Memory;
use bytes::Bytes;
use plait_core::limits::PASSED_AT_ONCE;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The byte that carries the page's descriptor.
const CARRIER: u8 = b'p';
/// Most pieces of one vectored write.
const SLICES: usize = 64;

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

/// Memory on its way out, in the order of its frames.
#[derive(Debug, Default)]
pub struct Departures(VecDeque<Memory>);

impl Departures {
    /// Adds the next; gives its offset for the frame.
    pub fn add(&mut self, memory: Memory) -> Option<u64> {
        let offset = memory.offset();
        self.0.push_back(memory);
        Some(offset)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Forgets all but the first `count`.
    pub fn truncate(&mut self, count: usize) {
        self.0.truncate(count);
    }

    /// Forgets the first `count`: they have left, or never will.
    pub fn forget(&mut self, count: usize) {
        self.0.drain(..count);
    }

    /// Writes at most `bytes` of `chunks`, with the first `count` descriptors. Says how much was taken; then all of the
    /// descriptors were.
    pub fn send(
        &self,
        socket: impl AsFd,
        chunks: &VecDeque<Bytes>,
        (count, mut bytes): (usize, usize),
        flags: SendFlags,
    ) -> rustix::io::Result<usize> {
        let mut slices = Vec::with_capacity(chunks.len().min(SLICES));
        for chunk in chunks.iter().take(SLICES) {
            slices.push(IoSlice::new(&chunk[..chunk.len().min(bytes)]));
            bytes -= chunk.len().min(bytes);
            if bytes == 0 {
                break;
            }
        }
        let descriptors: Vec<_> = self.0.iter().take(count).map(Memory::descriptor).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_AT_ONCE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            let fits = ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
            debug_assert!(fits, "the space is measured for as many as go at once");
        }
        sendmsg(socket, &slices, &mut ancillary, flags | SendFlags::NOSIGNAL)
    }
}

/// Memory that has come and whose frames have not been read yet.
#[derive(Debug, Default)]
pub struct Arrivals(VecDeque<OwnedFd>);

impl Arrivals {
    /// Reads what there is into `buffer`, and takes the descriptors that came with it.
    ///
    /// # Errors
    /// As any read; `BADMSG` if there were too many descriptors, or some were lost because this process may open no more.
    pub fn read(&mut self, socket: impl AsFd, buffer: &mut [u8]) -> rustix::io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(PASSED_AT_ONCE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.0.extend(descriptors);
            }
        }
        // One more group than the one whose frames are being read: a sender is never further ahead.
        let too_many = self.0.len() > 2 * PASSED_AT_ONCE;
        if too_many || received.flags.contains(ReturnFlags::CTRUNC) { Err(Errno::BADMSG) } else { Ok(received.bytes) }
    }

    /// The next, in the order in which they were sent.
    pub fn take(&mut self) -> Option<OwnedFd> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::blob::Store;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

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

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().expect("a socket pair")
    }

    fn memory(store: &Arc<Store>, byte: u8) -> Memory {
        store.memory_of(&Bytes::from(vec![byte; 10])).expect("memory")
    }

    #[test]
    fn descriptors_come_in_order_and_not_after_their_bytes() {
        let (store, (near, far)) = (Store::new(), pair());
        let mut departures = Departures::default();
        (0..20).for_each(|byte| assert_eq!(departures.add(memory(&store, byte)), Some(0)));
        let chunks = VecDeque::from([Bytes::from_static(b"abcd"), Bytes::from_static(b"ef")]);
        for (count, bytes, taken) in [(16, 5, 5), (4, usize::MAX, 6)] {
            assert_eq!(departures.send(&near, &chunks, (count, bytes), SendFlags::empty()), Ok(taken));
            departures.forget(count);
        }
        assert_eq!(departures.count(), 0);
        let (mut arrivals, mut buffer) = (Arrivals::default(), [0; 99]);
        for (text, count) in [(&b"abcde"[..], 16), (b"abcdef", 4)] {
            let read = arrivals.read(&far, &mut buffer).expect("sent");
            assert_eq!((&buffer[..read], arrivals.0.len()), (text, count), "one write's descriptors a read");
            while arrivals.take().is_some() {}
        }
        assert_eq!(store.descriptors(), 0);
    }

    #[test]
    fn more_descriptors_than_any_of_ours_sends_are_refused() {
        let (store, (near, far)) = (Store::new(), pair());
        let mut departures = Departures::default();
        (0..16).for_each(|byte| assert!(departures.add(memory(&store, byte)).is_some()));
        let chunks = VecDeque::from([Bytes::from_static(b"x")]);
        let mut arrivals = Arrivals::default();
        for round in 0..3 {
            departures.send(&near, &chunks, (16, 1), SendFlags::empty()).expect("sent");
            let read = arrivals.read(&far, &mut [0; 9]);
            assert_eq!(read, if round < 2 { Ok(1) } else { Err(Errno::BADMSG) });
        }
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
