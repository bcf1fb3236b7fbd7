//! Orders in, endings out, over one blocking socket.

use super::results::Results;
use crate::store::blob::{Keep, Store};
use crate::store::passing::{Courier, receive_shared};
use crate::store::shm::{ExecutorPage, Interrupt};
use plait_core::id::{FunctionKey, SessionId};
use plait_core::limits::{CHANNEL_READ_BYTES, DESCRIPTOR_PAUSE, DESCRIPTOR_TIMEOUT};
use plait_core::outcome::Ending;
use plait_core::protocol::frame::{Decoder, Fed};
use plait_core::protocol::message::executor::{EntryEnded, ExecutorOrder, FromExecutor, ToExecutor};
use plait_core::value::Value;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// How long an executor without orders keeps mappings for the next: about as long as it takes to make as much that is new,
/// so that the next array seldom needs memory beside the last one's.
const SPARES_KEPT: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// What there is to do.
#[derive(Debug)]
pub enum Next {
    /// This, which has been claimed: end it with [`Channel::finish`].
    Order(ExecutorOrder),
    /// A signal came while there was nothing to do: look after it and ask again.
    Interrupted,
    /// Functions are no longer needed: [`Channel::take_forgotten`] says which. Then ask again.
    Forgotten,
    /// The worker is gone.
    End,
}

/// What a task left of its process, as seen from within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing that runs.
    Nothing,
    /// Child processes.
    Children,
    /// A module of which an import was interrupted: what is half made would fail every later task.
    HalfModule,
}

/// The executor's end of the channel, for the one thread that runs tasks.
#[derive(Debug)]
pub struct Channel {
    socket: Arc<OwnedFd>,
    page: Arc<ExecutorPage>,
    store: Arc<Store>,
    results: Arc<Results>,
    courier: Arc<Courier>,
    decoder: Decoder<ToExecutor>,
    arrived: Vec<ToExecutor>,
    buffer: Vec<u8>,
    queue: VecDeque<ExecutorOrder>,
    /// Claimed, and still waiting for inputs.
    gathering: Option<ExecutorOrder>,
    current: Option<(u32, Instant)>,
    bodies: HashMap<FunctionKey, Value>,
    forgotten: Forgotten,
    open: bool,
}

/// Functions that are no longer needed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// All of these sessions.
    pub sessions: Vec<SessionId>,
    /// And these.
    pub functions: Vec<FunctionKey>,
}

impl Forgotten {
    const fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.functions.is_empty()
    }
}

impl Channel {
    /// Takes the page that comes first over `socket`, and says that this executor is ready.
    ///
    /// # Errors
    /// If there is no worker at the other end.
    pub fn open(socket: OwnedFd) -> io::Result<Self> {
        let (memory, courier) = receive_shared(&socket)?;
        let page = ExecutorPage::open(memory.as_fd())?;
        let (socket, courier) = (Arc::new(socket), Arc::new(courier));
        let store = Store::for_executor();
        let results = Results::new(Arc::clone(&socket), Arc::clone(&courier), Arc::clone(&store));
        results.send(FromExecutor::Ready)?;
        Ok(Self {
            socket,
            page: Arc::new(page),
            store,
            results,
            courier,
            decoder: Decoder::new(),
            arrived: Vec::new(),
            buffer: vec![0; CHANNEL_READ_BYTES],
            queue: VecDeque::new(),
            gathering: None,
            current: None,
            bodies: HashMap::new(),
            forgotten: Forgotten::default(),
            open: true,
        })
    }

    /// The shared page, for whoever has to judge an interrupt.
    #[must_use]
    pub fn page(&self) -> Arc<ExecutorPage> {
        Arc::clone(&self.page)
    }

    /// Where large segments lie.
    #[must_use]
    pub const fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The next order, if one is at hand; never waits.
    pub fn take(&mut self) -> Option<ExecutorOrder> {
        debug_assert!(self.current.is_none(), "one order at a time");
        let order = match self.gathering.take() {
            Some(gathering) => gathering,
            None => loop {
                let order = self.queue.pop_front()?;
                if self.page.claim(order.entry) {
                    break order;
                }
            },
        };
        if (order.inputs.len() as u64) < order.inputs_total {
            self.gathering = Some(order);
            return None;
        }
        self.current = Some((order.entry, Instant::now()));
        Some(order)
    }

    /// The next order; sends what has ended, then waits as long as it takes.
    pub fn wait(&mut self) -> Next {
        loop {
            if let Some(order) = self.take() {
                return Next::Order(order);
            }
            if !self.open || self.results.flush().is_err() {
                return Next::End;
            }
            match self.await_more().and_then(|()| read(&self.socket, &mut self.buffer)) {
                Ok(0) => self.open = false,
                Ok(read) => {
                    self.feed(read);
                    if self.queue.is_empty() && !self.forgotten.is_empty() {
                        return Next::Forgotten;
                    }
                }
                Err(Errno::INTR) if self.gathering_is_unwanted() => {}
                Err(Errno::INTR) => return Next::Interrupted,
                Err(_) => self.open = false,
            }
        }
    }

    /// Lets go of what is kept for the next order, if that does not come soon. The system may be asked to wait on.
    fn await_more(&self) -> rustix::io::Result<()> {
        if self.store.has_spares() && poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&SPARES_KEPT))? == 0 {
            self.store.drop_spares();
        }
        Ok(())
    }

    /// The entry of the order at hand.
    #[must_use]
    pub fn entry(&self) -> Option<u32> {
        self.current.map(|(entry, _)| entry)
    }

    /// How long the order at hand has run by `now`.
    #[must_use]
    pub fn ran(&self, now: Instant) -> Duration {
        self.current.map_or(Duration::ZERO, |(_, began)| now.saturating_duration_since(began))
    }

    /// Ends the order at hand. True if so much has piled up that [`flush`](Self::flush) should be called now.
    #[must_use]
    pub fn finish(&mut self, now: Instant, ending: Ending, left: Left) -> bool {
        let Some((entry, began)) = self.current.take() else { return false };
        self.page.done(entry);
        let run_micros = u64::try_from(now.saturating_duration_since(began).as_micros()).unwrap_or(u64::MAX);
        let ended = EntryEnded { entry, ending, run_micros, soiled: left != Left::Nothing };
        self.results.push(ended, now, !self.queue.is_empty())
    }

    /// Sends what has ended so far. That the worker is gone is found by the next [`wait`](Self::wait).
    pub fn flush(&self) {
        let _ = self.results.flush();
    }

    /// The pickled function of this name; given once, for whoever keeps it unpickled.
    pub fn take_body(&mut self, function: FunctionKey) -> Option<Value> {
        self.bodies.remove(&function)
    }

    /// Functions that are no longer needed, since this was last asked.
    pub fn take_forgotten(&mut self) -> Forgotten {
        std::mem::take(&mut self.forgotten)
    }

    fn feed(&mut self, read: usize) {
        // What came before the damage is still good; behind it there is nothing more to read.
        self.open = self.decode(read);
        for message in self.arrived.drain(..) {
            match message {
                ToExecutor::Define { function, body } => {
                    self.bodies.insert(function, body);
                }
                ToExecutor::Orders(orders) => self.queue.extend(orders),
                ToExecutor::Inputs { entry, inputs } => {
                    let mut waiting = self.gathering.iter_mut().chain(&mut self.queue);
                    if let Some(order) = waiting.find(|order| order.entry == entry) {
                        order.inputs.extend(inputs);
                    }
                }
                ToExecutor::Forget(session) => {
                    self.bodies.retain(|function, _| function.session != session);
                    self.forgotten.sessions.push(session);
                }
                ToExecutor::ForgetFunctions(functions) => {
                    functions.iter().for_each(|function| drop(self.bodies.remove(function)));
                    self.forgotten.functions.extend(functions);
                }
            }
        }
    }

    /// Makes messages of what was read. False if it is nonsense, or memory has come and there is no descriptor for it.
    fn decode(&mut self, read: usize) -> bool {
        // Descriptors are not kept: a task may close any, and there may be many orders.
        let Self { store, courier, .. } = self;
        let mut receive = |offset, length| courier.receive(store, offset, length, Keep::Mapping);
        let (mut bytes, mut since) = (&self.buffer[..read], None);
        loop {
            match self.decoder.feed_receiving(&mut bytes, &mut self.arrived, &mut receive) {
                Ok(Fed::All) => return true,
                // A thread that a task left behind has taken them all.
                Ok(Fed::Waiting) if since.get_or_insert_with(Instant::now).elapsed() < DESCRIPTOR_TIMEOUT => {
                    thread::sleep(DESCRIPTOR_PAUSE);
                }
                Ok(Fed::Waiting | Fed::Beside(_) | Fed::Signal) | Err(_) => return false,
            }
        }
    }

    /// An interrupt for an order whose inputs have not all come ends it here: Python never sees it.
    fn gathering_is_unwanted(&mut self) -> bool {
        let Some(order) = &self.gathering else { return false };
        if self.page.take_interrupt() != Interrupt::Running {
            return false;
        }
        self.current = Some((order.entry, Instant::now()));
        self.gathering = None;
        let _ = self.finish(Instant::now(), Ending::Cancelled, Left::Nothing);
        true
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.results.close();
    }
}
