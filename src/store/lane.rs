//! Memory that two processes of one machine have in common, in which bytes go round each way, and a socket on which each says
//! how much it has taken.
//!
//! The peer may change the memory at any time: what is read is copied first, and whoever changes it spoils nothing but what it
//! says itself, or is told. Nothing in it says where anything lies; both ends count.

use super::shm::Common;
use plait_core::limits::{LANE_BYTES, LANE_NEWS, LANE_PART, LANE_UNTOLD};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, fstat, fstatfs, ftruncate, memfd_create};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// The seals of such memory: it keeps its size, and stays writable.
const SIZED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);
/// What the file system of memory is called: `TMPFS_MAGIC`.
const MEMORY: rustix::fs::FsWord = 0x0102_1994;
/// Bytes of one piece of news.
const NEWS_BYTES: usize = 8;
/// Bytes of one way.
const LANE: u64 = LANE_BYTES as u64;

// Whoever has taken all has said so of enough for the next part.
const _: () = assert!(LANE_PART + LANE_UNTOLD <= LANE_BYTES);

/// One end of it.
#[derive(Debug)]
pub struct Lane {
    common: Common,
    news: Arc<OwnedFd>,
    /// Where in the memory lies what goes out, and what comes in.
    out: usize,
    back: usize,
}

/// What the other end joins with.
#[derive(Debug)]
pub struct Offer {
    /// What both have in common.
    pub memory: OwnedFd,
    /// Its end of the socket.
    pub news: OwnedFd,
}

impl Lane {
    /// A new one.
    ///
    /// # Errors
    /// If there are no descriptors or no memory for it.
    pub fn open() -> io::Result<(Self, Offer)> {
        if !promises_are_kept() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let memory = memfd_create("plait-lane", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&memory, 2 * LANE)?;
        fcntl_add_seals(&memory, SIZED)?;
        let (near, news) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self::with(&memory, near, [0, LANE_BYTES])?, Offer { memory, news }))
    }

    /// The other end of one that somebody else has opened.
    ///
    /// # Errors
    /// If it is not what [`open`](Self::open) makes, or cannot be mapped.
    pub fn join(Offer { memory, news }: Offer) -> io::Result<Self> {
        // What lies on large pages alone has seals too, and may be missing when it is looked at.
        let is_memory = fstatfs(&memory)?.f_type == MEMORY;
        let sized = u64::try_from(fstat(&memory)?.st_size) == Ok(2 * LANE) && fcntl_get_seals(&memory)?.contains(SIZED);
        if is_memory && sized {
            Self::with(&memory, news, [LANE_BYTES, 0])
        } else {
            Err(io::ErrorKind::InvalidData.into())
        }
    }

    fn with(memory: &OwnedFd, news: OwnedFd, [out, back]: [usize; 2]) -> io::Result<Self> {
        Ok(Self { common: Common::map(memory.as_fd(), 2 * LANE_BYTES)?, news: news.into(), out, back })
    }

    /// The socket on which there is something to read when the peer has taken some.
    #[must_use]
    pub const fn news(&self) -> &Arc<OwnedFd> {
        &self.news
    }
}

/// What goes out, at one end.
#[derive(Debug, Default)]
pub struct Loading {
    placed: u64,
    /// What the peer has taken of that.
    taken: u64,
    /// What had been placed when this was last looked at.
    seen: u64,
    /// What had been placed and taken when memory was last given back.
    given: (u64, u64),
}

impl Loading {
    /// Whether there is room for so many bytes.
    ///
    /// # Errors
    /// If the peer has left.
    pub fn fits(&mut self, lane: &Lane, bytes: usize) -> io::Result<bool> {
        if bytes > self.room() {
            self.hear(lane)?;
        }
        Ok(bytes <= self.room())
    }

    fn room(&self) -> usize {
        LANE_BYTES - usize::try_from(self.placed - self.taken).expect("no more is placed than there is room for")
    }

    /// Hears what the peer has taken.
    fn hear(&mut self, lane: &Lane) -> io::Result<()> {
        for _ in 0..LANE_NEWS {
            let mut news = [0; NEWS_BYTES];
            match recv(&lane.news, &mut news, RecvFlags::DONTWAIT) {
                Ok((_, NEWS_BYTES)) => {
                    self.taken = self.placed.min(self.taken.saturating_add(u64::from_le_bytes(news)));
                }
                Ok(_) => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Places all of `pieces`, which must [fit](Self::fits).
    pub fn place<'a>(&mut self, lane: &Lane, pieces: impl Iterator<Item = &'a [u8]>) {
        for piece in pieces {
            let (here, round) = piece.split_at(piece.len().min(to_end(self.placed)));
            lane.common.write(lane.out + place(self.placed), here);
            lane.common.write(lane.out, round);
            self.placed += piece.len() as u64;
        }
        debug_assert!(self.placed - self.taken <= LANE, "it fits");
    }

    /// Gives the memory of what was taken back to the system, once nothing was placed since this was last asked.
    pub fn rest(&mut self, lane: &Lane) {
        let quiet = self.seen == self.placed && self.hear(lane).is_ok();
        self.seen = self.placed;
        if !quiet || self.given == (self.placed, self.taken) {
            return;
        }
        self.given = (self.placed, self.taken);
        let room = self.room();
        let here = room.min(to_end(self.placed));
        lane.common.give_back(lane.out + place(self.placed), here);
        lane.common.give_back(lane.out, room - here);
    }
}

/// What comes in, at one end.
#[derive(Debug, Default)]
pub struct Drawing {
    /// What was announced and not drawn.
    left: usize,
    drawn: u64,
    /// What of that the peer was told.
    said: u64,
}

impl Drawing {
    /// So many bytes are there.
    ///
    /// # Panics
    /// If some still were.
    pub const fn announce(&mut self, bytes: usize) {
        assert!(self.left == 0, "they come before anything else is announced");
        self.left = bytes;
    }

    /// How many bytes are there.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.left
    }

    /// Copies as many as there are and `space` has room for, or fewer. Says how many. Never waits.
    pub fn draw(&mut self, lane: &Lane, space: &mut [u8]) -> usize {
        let length = self.left.min(space.len()).min(to_end(self.drawn));
        lane.common.read(lane.back + place(self.drawn), &mut space[..length]);
        (self.left, self.drawn) = (self.left - length, self.drawn + length as u64);
        if self.drawn - self.said >= LANE_UNTOLD as u64 {
            self.tell(lane);
        }
        length
    }

    /// Says what was taken, so that its memory can be given back: for when little comes.
    pub fn rest(&mut self, lane: &Lane) {
        if self.drawn > self.said {
            self.tell(lane);
        }
    }

    fn tell(&mut self, lane: &Lane) {
        let (owed, flags) = (self.drawn - self.said, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        // What the peer does not hear now it hears with the next: it has not read much else then.
        if send(&lane.news, &owed.to_le_bytes(), flags).is_ok() {
            self.said = self.drawn;
        }
    }
}

/// Whether memory is there that the kernel has promised: where it counts what it promises (`vm.overcommit_memory`), what
/// was not touched yet may turn out not to be, and whoever touches it dies.
fn promises_are_kept() -> bool {
    std::fs::read_to_string("/proc/sys/vm/overcommit_memory").is_ok_and(|mode| mode.trim() != "2")
}

/// Where in one way that lies.
fn place(at: u64) -> usize {
    usize::try_from(at % LANE).expect("it is not that long")
}

/// How many bytes lie from there up to the end, where it begins again.
fn to_end(at: u64) -> usize {
    LANE_BYTES - place(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plait_core::rng::Rng;
    use std::fs::{File, remove_file};

    fn pair() -> (Lane, Lane) {
        let (near, offer) = Lane::open().expect("there is memory");
        (near, Lane::join(offer).expect("it was opened here"))
    }

    /// Draws all that was announced, in pieces of any size.
    fn drawn(drawing: &mut Drawing, lane: &Lane, rng: &mut Rng) -> Vec<u8> {
        let mut all = Vec::new();
        while drawing.left() > 0 {
            let mut space = vec![0; 1 + rng.below(100_000) as usize];
            let length = drawing.draw(lane, &mut space);
            all.extend_from_slice(&space[..length]);
        }
        all
    }

    #[test]
    fn whatever_goes_round_arrives_both_ways() {
        let (near, far) = pair();
        let mut rng = Rng::new(3);
        let mut ways = [(&near, &far), (&far, &near)].map(|ends| (ends, Loading::default(), Drawing::default()));
        for round in 0..400_u32 {
            for ((from, to), loading, drawing) in &mut ways {
                let pieces = (0..rng.below(5)).map(|_| vec![rng.next_u64() as u8; rng.below(200_000) as usize]);
                let pieces: Vec<Vec<u8>> = pieces.collect();
                let whole = pieces.concat();
                assert!(loading.fits(from, whole.len()).expect("nobody left"), "all was taken before");
                loading.place(from, pieces.iter().map(|piece| &**piece));
                drawing.announce(whole.len());
                assert!(drawn(drawing, to, &mut rng) == whole, "round {round}");
            }
        }
    }

    #[test]
    fn what_was_not_taken_is_in_the_way() {
        let (near, far) = pair();
        let (mut loading, mut drawing, half) = (Loading::default(), Drawing::default(), vec![7; LANE_PART]);
        for _ in 0..2 {
            assert_eq!(loading.fits(&near, half.len()).ok(), Some(true));
            loading.place(&near, [&*half].into_iter());
        }
        assert_eq!(loading.fits(&near, 1).ok(), Some(false));
        for _ in 0..2 {
            drawing.announce(half.len());
            drawn(&mut drawing, &far, &mut Rng::new(1));
        }
        assert_eq!(loading.fits(&near, LANE_BYTES - LANE_UNTOLD).ok(), Some(true), "all but the last that was taken");
        drop(far);
        assert!(loading.fits(&near, LANE_BYTES).is_err(), "nobody will make room");
    }

    #[test]
    fn who_says_to_have_taken_more_than_there_was_is_not_believed() {
        let (near, far) = pair();
        let (mut loading, bytes) = (Loading::default(), vec![1; LANE_BYTES]);
        loading.place(&near, [&*bytes].into_iter());
        for news in [u64::MAX, u64::MAX] {
            send(&far.news, &news.to_le_bytes(), SendFlags::empty()).expect("sent");
        }
        assert_eq!(
            [LANE_BYTES, LANE_BYTES + 1].map(|bytes| loading.fits(&near, bytes).ok()),
            [Some(true), Some(false)]
        );
        loading.place(&near, [&*bytes].into_iter());
        (0..2 * LANE_NEWS).for_each(|_| assert!(send(&far.news, &[0; NEWS_BYTES], SendFlags::DONTWAIT).is_ok()));
        assert_eq!(loading.fits(&near, 1).ok(), Some(false), "though there is more to hear");
        send(&far.news, b"short", SendFlags::DONTWAIT).expect("there is room");
        assert!((0..3).any(|_| loading.fits(&near, 1).is_err()), "that is no number");
    }

    #[test]
    fn what_rests_takes_no_memory_and_loses_nothing() {
        let (near, offer) = Lane::open().expect("there is memory");
        let page = rustix::param::page_size() as u64;
        let memory = offer.memory.try_clone().expect("a descriptor");
        let far = Lane::join(offer).expect("it was opened here");
        let blocks = || fstat(&memory).expect("a file").st_blocks as u64 * 512;
        let (mut loading, mut drawing, mut rng) = (Loading::default(), Drawing::default(), Rng::new(1));
        let part: Vec<u8> = (0..LANE_PART + 1_000).map(|n| (n % 251) as u8).collect();
        for _ in 0..3 {
            assert!(loading.fits(&near, part.len()).expect("nobody left"));
            loading.place(&near, [&*part].into_iter());
            drawing.announce(part.len());
            assert!(drawn(&mut drawing, &far, &mut rng) == part);
        }
        assert!(loading.fits(&near, part.len()).expect("nobody left"));
        loading.place(&near, [&*part].into_iter());
        assert_eq!(blocks(), LANE);
        loading.rest(&near);
        assert_eq!(blocks(), LANE, "it was in use just now");
        loading.rest(&near);
        let (whole, untold) = (part.len() as u64, LANE_UNTOLD as u64);
        assert!((whole..whole + untold + 20_000).contains(&blocks()), "what was not said to be taken stays");
        drawing.announce(part.len());
        assert!(drawn(&mut drawing, &far, &mut rng) == part, "it was on the way");
        drawing.rest(&far);
        loading.rest(&near);
        assert!(blocks() <= page, "late, but taken");
        let few = vec![9; 100_000];
        loading.place(&near, [&*few].into_iter());
        drawing.announce(few.len());
        assert!(drawn(&mut drawing, &far, &mut rng) == few);
        (0..2).for_each(|_| loading.rest(&near));
        assert!(blocks() > 90_000, "nobody said that it was taken");
        drawing.rest(&far);
        loading.rest(&near);
        assert!(blocks() <= page);
    }

    #[test]
    fn other_memory_is_refused() {
        let with = |memory| Lane::join(Offer { memory, ..Lane::open().expect("there is memory").1 }).is_ok();
        let sealed = |length: u64, flags, seals| {
            let memory = memfd_create("other", flags | MemfdFlags::ALLOW_SEALING).expect("memory");
            ftruncate(&memory, length).and_then(|()| fcntl_add_seals(&memory, seals)).expect("memory");
            with(memory)
        };
        let plain = MemfdFlags::CLOEXEC;
        assert!(sealed(2 * LANE, plain, SIZED));
        assert!(!sealed(2 * LANE - 8, plain, SIZED) && !sealed(2 * LANE + 8, plain, SIZED));
        assert!(!sealed(2 * LANE, plain, SealFlags::GROW.union(SealFlags::SEAL)), "it could go away");
        assert!(!sealed(2 * LANE, plain, SIZED.union(SealFlags::WRITE)), "it cannot be written to");
        assert!(!sealed(2 * LANE, MemfdFlags::HUGETLB, SIZED), "large pages may be missing");
        let path = std::env::temp_dir().join(format!("plait-lane-{}", std::process::id()));
        let file = File::create_new(&path).expect("a file");
        remove_file(&path).and_then(|()| file.set_len(2 * LANE)).expect("a file");
        assert!(!with(file.into()), "a file");
        assert!(!with(io::pipe().expect("a pipe").0.into()), "a pipe");
    }
}
