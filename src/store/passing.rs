//! Descriptors over Unix sockets (`SCM_RIGHTS`).
//!
//! What an executor shares with its worker, the page and its end of a [`Courier`], travels with one byte of its own, ahead
//! of everything else on their socket. The memory of large segments goes by courier: each descriptor in a message of its
//! own, which leaves before the frame that announces it leaves on the other socket. The receiver takes it when it reads
//! that frame. A process that has no descriptor left for it loses nothing: it stays where it is until there is one.

use super::blob::{Keep, Memory, Store};
use bytes::Bytes;
use plait_core::landing::Missing;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, sendmsg, socketpair,
};
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The byte that carries descriptors.
const CARRIER: u8 = b'p';
/// The byte that carries what a courier [offers](Courier::offer).
const OFFER: u8 = b'o';
/// Most descriptors that one message carries.
const CARRIED: usize = 2;
/// Most pieces of one vectored write.
const SLICES: usize = 64;

/// Hands an executor its page and its courier, through `socket`, which must be empty in this direction so that this
/// cannot block.
pub fn send_shared(socket: impl AsFd, page: BorrowedFd<'_>, courier: &Courier) -> io::Result<()> {
    Ok(send(socket, &[page, courier.socket()], SendFlags::empty())?)
}

/// Receives them; waits for them if the socket blocks.
pub fn receive_shared(socket: impl AsFd) -> io::Result<(OwnedFd, Courier)> {
    match receive(socket, RecvFlags::empty())? {
        [Some(page), Some(socket)] => Ok((page, Courier { socket: socket.into(), reserve: Reserve::new() })),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// One end of a socket that carries the descriptors of memory: one a message, and ahead of them at most one
/// [offer](Self::offer).
#[derive(Debug)]
pub struct Courier {
    socket: Arc<OwnedFd>,
    reserve: Arc<Reserve>,
}

/// A descriptor that is given up when memory arrives and the process has no other left for it.
#[derive(Debug, Default)]
pub struct Reserve(Mutex<Option<OwnedFd>>);

impl Reserve {
    /// One for all couriers of a process.
    #[must_use]
    pub fn new() -> Arc<Self> {
        let reserve = Arc::new(Self::default());
        reserve.save();
        reserve
    }

    /// Sees to it that there is one, if this process may open any.
    fn save(&self) {
        let mut reserve = self.lock();
        if reserve.is_none() {
            *reserve = memfd_create("plait-reserve", MemfdFlags::CLOEXEC).ok();
        }
    }

    /// Gives it up. False if there is none.
    fn spend(&self) -> bool {
        self.lock().take().is_some()
    }

    fn is_there(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Courier {
    /// Both ends.
    ///
    /// # Errors
    /// If there are no descriptors for them.
    pub fn pair(reserve: &Arc<Reserve>) -> io::Result<(Self, Self)> {
        let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::over(near, reserve), Self::over(far, reserve)))
    }

    /// The end of a connected socket of messages (`SEQPACKET`) in which nothing lies.
    #[must_use]
    pub fn over(socket: impl Into<Arc<OwnedFd>>, reserve: &Arc<Reserve>) -> Self {
        Self { socket: socket.into(), reserve: Arc::clone(reserve) }
    }

    /// The socket, for whoever waits until it takes more.
    #[must_use]
    pub const fn shared_socket(&self) -> &Arc<OwnedFd> {
        &self.socket
    }

    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Hands over what both ends of a stream are to have in common, ahead of everything else. Never waits.
    ///
    /// # Errors
    /// If the socket takes nothing.
    pub fn offer(&self, memory: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> io::Result<()> {
        Ok(send_with(&self.socket, OFFER, &[memory, socket], SendFlags::DONTWAIT)?)
    }

    /// Takes what was offered, memory and a socket, if that comes next. Never waits.
    ///
    /// # Errors
    /// If it does not, or this process has not two descriptors left: then it is gone.
    pub fn take_offer(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let mut next = [0];
        past_reset(|| recv(&self.socket, &mut next, RecvFlags::DONTWAIT | RecvFlags::PEEK))?;
        if next != [OFFER] {
            return Err(io::ErrorKind::NotFound.into());
        }
        match receive_with(&self.socket, OFFER, RecvFlags::DONTWAIT)? {
            [Some(memory), Some(socket)] => Ok((memory, socket)),
            _ => Err(Errno::MFILE.into()),
        }
    }

    /// Takes the next memory: a segment of so many bytes at `offset`. Never waits.
    ///
    /// # Errors
    /// If it is not to be had; see [`Missing`].
    pub fn receive(&self, store: &Arc<Store>, offset: u64, length: u64, keep: Keep) -> Result<Bytes, Missing> {
        // It stays in the socket until it certainly is here.
        let look = || past_reset(|| receive(&self.socket, RecvFlags::DONTWAIT | RecvFlags::PEEK));
        let seen =
            look().or_else(|error| if error == Errno::MFILE && self.reserve.spend() { look() } else { Err(error) });
        let memory = match seen {
            Ok([Some(memory), None]) => memory,
            Err(Errno::MFILE) => return Err(Missing::NoRoom),
            Ok(_) | Err(_) => return Err(Missing::Broken),
        };
        past_reset(|| recv(&self.socket, &mut [0], RecvFlags::DONTWAIT)).map_err(|_| Missing::Broken)?;
        // The last descriptor there is must be free again for the next.
        let keep = if self.reserve.is_there() { keep } else { Keep::Mapping };
        let adopted = store.adopt(memory, offset, length, keep);
        self.reserve.save();
        adopted.map_err(|_| Missing::Broken)
    }
}

/// Sends `descriptors` with one byte.
fn send(socket: impl AsFd, descriptors: &[BorrowedFd<'_>], flags: SendFlags) -> rustix::io::Result<()> {
    send_with(socket, CARRIER, descriptors, flags)
}

fn send_with(socket: impl AsFd, byte: u8, descriptors: &[BorrowedFd<'_>], flags: SendFlags) -> rustix::io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CARRIED))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fits = ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    debug_assert!(fits, "the space is measured for as many as any message carries");
    sendmsg(socket, &[IoSlice::new(&[byte])], &mut ancillary, flags | SendFlags::NOSIGNAL)?;
    Ok(())
}

/// What a socket of messages gives behind the word that its peer is gone and has not read all: that is said once, ahead of what
/// the peer sent before.
fn past_reset<T>(mut ask: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    ask().or_else(|error| if error == Errno::CONNRESET { ask() } else { Err(error) })
}

/// The descriptors of the next message. `MFILE` if this process may open none of them, `BADMSG` if it is no such message.
fn receive(socket: impl AsFd, flags: RecvFlags) -> rustix::io::Result<[Option<OwnedFd>; CARRIED]> {
    receive_with(socket, CARRIER, flags)
}

fn receive_with(socket: impl AsFd, carrier: u8, flags: RecvFlags) -> rustix::io::Result<[Option<OwnedFd>; CARRIED]> {
    let mut byte = [0_u8];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CARRIED))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags | RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let mut descriptors = descriptors.next().into_iter().flatten();
    let taken = [descriptors.next(), descriptors.next()];
    match (&taken, received.flags.contains(ReturnFlags::CTRUNC)) {
        ([None, _], true) => Err(Errno::MFILE),
        ([Some(_), _], false) if byte == [carrier] => Ok(taken),
        _ => Err(Errno::BADMSG),
    }
}

/// Writes at most `bytes` of `chunks`. Says how much was taken.
pub fn write(
    socket: impl AsFd,
    chunks: &VecDeque<Bytes>,
    mut bytes: usize,
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
    sendmsg(socket, &slices, &mut SendAncillaryBuffer::default(), flags | SendFlags::NOSIGNAL)
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

    /// Forgets the first `count`: they never will leave.
    pub fn forget(&mut self, count: usize) {
        self.0.drain(..count);
    }

    /// Sends the next, up to `most`. Says how many have left.
    ///
    /// # Errors
    /// If none could.
    pub fn send(&mut self, courier: &Courier, most: usize, flags: SendFlags) -> rustix::io::Result<usize> {
        let mut count = 0;
        while let Some(memory) = self.0.front().filter(|_| count < most) {
            match send(courier.socket(), &[memory.descriptor()], flags) {
                Ok(()) => drop(self.0.pop_front()),
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            }
            count += 1;
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::process::Command;

    #[test]
    fn what_is_shared_travels_ahead_of_the_stream() {
        let (mut near, mut far) = UnixStream::pair().expect("a socket pair");
        let ((mut reader, writer), (ours, theirs)) = (io::pipe().expect("a pipe"), couriers());
        send_shared(&near, writer.as_fd(), &theirs).expect("sent");
        near.write_all(b"behind").expect("written");
        drop((near, writer, theirs));
        let (page, theirs) = receive_shared(&far).expect("received");
        std::fs::File::from(page).write_all(b"through").expect("the pipe is open");
        let (mut piped, mut streamed) = (String::new(), String::new());
        reader.read_to_string(&mut piped).expect("read");
        far.read_to_string(&mut streamed).expect("read");
        assert_eq!((&*piped, &*streamed), ("through", "behind"));
        let store = Store::new();
        assert_eq!(pass(&store, &ours, 1..2), Ok(1));
        assert_eq!(get(&theirs, &store).expect("passed"), vec![1; 10]);
    }

    #[test]
    fn a_stream_without_descriptors_is_refused() {
        let (mut near, far) = UnixStream::pair().expect("a socket pair");
        near.write_all(b"p").expect("written");
        assert!(receive_shared(&far).is_err());
        let page = io::pipe().expect("a pipe").0;
        send(&near, &[page.as_fd()], SendFlags::empty()).expect("sent");
        assert!(receive_shared(&far).is_err(), "a page without a courier");
        drop(near);
        assert!(receive_shared(&far).is_err(), "no peer");
    }

    #[test]
    fn memory_comes_in_order_and_leaves_no_descriptor_behind() {
        let (store, far_store, (near, far)) = (Store::new(), Store::new(), couriers());
        assert_eq!(pass(&store, &near, 0..20), Ok(20));
        assert_eq!(store.descriptors(), 0);
        let got: Vec<Bytes> = (0..20).map(|_| get(&far, &far_store).expect("passed")).collect();
        assert!((0..20).zip(&got).all(|(byte, segment)| *segment == vec![byte; 10]));
        assert_eq!(far_store.descriptors(), 20, "kept to be passed on");
        drop(got);
        assert_eq!(far_store.descriptors(), 0);
    }

    #[test]
    fn a_full_courier_says_so_and_goes_on_later() {
        let (store, (near, far)) = (Store::new(), couriers());
        let mut sent = 0;
        let full = loop {
            match pass(&store, &near, 0..16) {
                Ok(count) => sent += count,
                Err(full) => break full,
            }
        };
        assert!(full == Errno::AGAIN && sent > 16);
        (0..sent).for_each(|_| drop(get(&far, &store).expect("passed")));
        assert_eq!(pass(&store, &near, 0..1), Ok(1));
    }

    #[test]
    fn memory_outlives_a_peer_that_did_not_read_its_own() {
        let (store, (near, far)) = (Store::new(), couriers());
        assert_eq!((pass(&store, &near, 0..2), pass(&store, &far, 0..1)), (Ok(2), Ok(1)));
        drop(near);
        let got = [0, 1, 2].map(|_| get(&far, &store));
        assert_eq!(got, [Ok(Bytes::from(vec![0; 10])), Ok(Bytes::from(vec![1; 10])), Err(Missing::Broken)]);
    }

    #[test]
    fn what_is_not_one_descriptor_of_sealed_memory_is_refused() {
        let (store, (near, far)) = (Store::new(), couriers());
        let refused = || get(&far, &store) == Err(Missing::Broken);
        assert!(refused(), "nothing");
        let pipe = io::pipe().expect("a pipe").0;
        send(near.socket(), &[pipe.as_fd()], SendFlags::empty()).expect("sent");
        assert!(refused(), "a pipe");
        send(near.socket(), &[pipe.as_fd(); 2], SendFlags::empty()).expect("sent");
        assert!(refused() && refused(), "two at once, which stay where they are");
        drop(near);
        assert!(refused());
    }

    #[test]
    fn a_process_without_descriptors_loses_none_that_arrive() {
        alone("poor");
    }

    #[test]
    fn what_is_offered_to_a_process_without_descriptors_is_in_nobodys_way() {
        alone("poor_offer");
    }

    /// Runs an ignored one of these tests in a process of its own.
    fn alone(name: &str) {
        let name = format!("store::passing::tests::{name}");
        let child =
            Command::new(std::env::current_exe().expect("this test")).args(["--exact", &name, "--ignored"]).output();
        let child = child.expect("the same tests again");
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "it takes all descriptors of its process: the one above runs it in a process of its own"]
    fn poor_offer() {
        let (store, far_store, (near, far)) = (Store::new(), Store::new(), couriers());
        let (memory, pipe) =
            (store.memory_of(&Bytes::from_static(b"any")).expect("memory"), io::pipe().expect("a pipe").0);
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(200), maximum }).expect("fewer");
        for left in 0..4 {
            near.offer(memory.descriptor(), pipe.as_fd()).expect("offered");
            let mut taken: Vec<OwnedFd> = std::iter::from_fn(|| near.socket().try_clone_to_owned().ok()).collect();
            taken.truncate(taken.len() - left);
            assert_eq!(far.take_offer().is_ok(), left >= 2, "{left} left");
            drop(taken);
            pass(&store, &near, 7..8).expect("passed");
            assert!(far.take_offer().is_err(), "what is passed is no offer");
            assert_eq!(get(&far, &far_store).expect("it comes behind"), vec![7; 10]);
        }
    }

    #[test]
    #[ignore = "it takes all descriptors of its process: the one above runs it in a process of its own"]
    fn poor() {
        let (store, far_store, (near, far)) = (Store::new(), Store::new(), couriers());
        pass(&store, &near, 0..4).expect("passed");
        let maximum = getrlimit(Resource::Nofile).maximum;
        setrlimit(Resource::Nofile, Rlimit { current: Some(200), maximum }).expect("fewer");
        let mut taken: Vec<OwnedFd> = std::iter::from_fn(|| near.socket().try_clone_to_owned().ok()).collect();
        assert_eq!(get(&far, &far_store).expect("thanks to the one in reserve"), vec![0; 10]);
        assert_eq!(get(&far, &far_store).expect("which is there again"), vec![1; 10]);
        assert_eq!(far_store.descriptors(), 0, "none is kept");
        assert!(far.reserve.spend());
        taken.push(near.socket().try_clone_to_owned().expect("somebody else was faster"));
        for _ in 0..3 {
            assert_eq!(get(&far, &far_store), Err(Missing::NoRoom));
        }
        taken.pop();
        assert_eq!(get(&far, &far_store).expect("it has waited"), vec![2; 10]);
        drop(taken);
        assert_eq!(get(&far, &far_store).expect("the last one"), vec![3; 10]);
        assert_eq!(far_store.descriptors(), 0, "its bytes are gone");
    }

    fn couriers() -> (Courier, Courier) {
        Courier::pair(&Reserve::new()).expect("descriptors for two sockets")
    }

    /// Passes ten bytes of each of these kinds. How many have left.
    fn pass(store: &Arc<Store>, courier: &Courier, kinds: std::ops::Range<u8>) -> rustix::io::Result<usize> {
        let mut departures = Departures::default();
        for byte in kinds {
            let memory = store.memory_of(&Bytes::from(vec![byte; 10])).expect("memory");
            assert_eq!(departures.add(memory), Some(0));
        }
        departures.send(courier, departures.count(), SendFlags::DONTWAIT)
    }

    fn get(courier: &Courier, store: &Arc<Store>) -> Result<Bytes, Missing> {
        courier.receive(store, 0, 10, Keep::Descriptor)
    }
}
