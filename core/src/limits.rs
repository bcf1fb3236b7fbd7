//! Every bound of plait, with its unit and its reason. Nothing grows without a name here.

use core::time::Duration;

/// Largest hello, in bytes: machine facts and versions, nothing more.
pub const HELLO_BYTES: usize = 4 << 10;
/// Largest control message, in bytes; more is a protocol error.
pub const CONTROL_BYTES: usize = 1 << 20;
/// Largest value that travels inside a control frame, in bytes; larger ones follow as data frames.
pub const INLINE_VALUE_BYTES: usize = 128 << 10;
/// Largest sum of inline values in one frame, in bytes.
pub const INLINE_FRAME_BYTES: usize = 1 << 20;
/// Largest sum of the values of one message, in bytes, whatever the machine; a receiver may take less.
pub const MESSAGE_BYTES: u64 = 64 << 30;
/// Most control frames that one message is cut into: a task of [`TASK_INPUTS`] inputs needs ten.
pub const MESSAGE_PARTS: usize = 64;
/// Largest data frame, in bytes: what a heartbeat may have to wait for.
pub const DATA_FRAME_BYTES: usize = 256 << 10;
/// Segments of at least this many bytes are passed between processes of one machine as memory, smaller ones as bytes: below it a
/// descriptor, a mapping and fresh pages cost more than the copies they spare.
pub const PASSED_BYTES: usize = 256 << 10;
/// Most descriptors that leave ahead of their frames: what waits for a receiver that reads frames slowly.
pub const PASSED_AT_ONCE: usize = 16;
/// Memory in which the bytes of a stream go round beside it, each way, on links within one machine: as much as stays in the
/// caches of two processors.
pub const LANE_BYTES: usize = 4 << 20;
/// Most bytes that are placed there in one part, almost always a frame or more: half of it. Whoever waits for room for a
/// part gets it, for all but a quarter of what was taken is said to be ([`LANE_UNTOLD`]).
pub const LANE_PART: usize = LANE_BYTES / 2;
/// Bytes that were taken and are not yet said to be, at the most.
pub const LANE_UNTOLD: usize = LANE_BYTES / 4;
/// From so many bytes on they go beside the stream: below it, to say so costs as much as to send them.
pub const LANE_LEAST: usize = 16 << 10;
/// So many at once, more only if a frame has more: the receiver copies them while the next are put there.
pub const LANE_AT_ONCE: usize = 1 << 20;
/// So often in a row it may be said that some were taken: a peer may say so without end.
pub const LANE_NEWS: usize = 64;
/// A process that has no descriptor left for memory that was passed to it looks again this often.
pub const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(20);
/// An executor that has waited this long for one ends: its orders can go elsewhere.
pub const DESCRIPTOR_TIMEOUT: Duration = Duration::from_secs(10);
/// A store holds at most this part of the descriptors that its process may have open: the rest is the user's. The last such part
/// is not taken for memory beside a link either: without it a link does well, but not without a descriptor of its own.
pub const DESCRIPTORS_PART: usize = 4;
/// And never more than this: what is beyond them is mapped, or travels as bytes.
pub const DESCRIPTORS: usize = 4_096;
/// Most segments that a store maps at once: a quarter of what Linux lets a process map unless it is told otherwise (65,530). What is
/// beyond is read, and kept as bytes.
pub const MAPPINGS: usize = 1 << 14;
/// Most segments of one value: the pickle stream and its out-of-band buffers.
pub const VALUE_SEGMENTS: usize = 64 << 10;
/// Most messages of one kind batched into one control message: keeps a message under [`CONTROL_BYTES`].
pub const BATCH_ITEMS: usize = 1_000;

/// Credit of one connection and direction, in bytes: what may be on the way before the receiver's step has taken it.
pub const CONNECTION_CREDIT_BYTES: u64 = 64 << 20;
/// What a message costs beyond its values, in bytes of credit: bounds the number of tiny messages on the way.
pub const MESSAGE_COST_BYTES: u64 = 64;
/// A receiver returns credit once this much is owed, in bytes: one small message per batch at the most.
pub const CREDIT_RETURN_BYTES: u64 = CONNECTION_CREDIT_BYTES / 16;

/// Requests that a client keeps unsent, in bytes of credit; beyond it `submit` waits: as much again as is on the way.
pub const CLIENT_UNSENT_BYTES: u64 = CONNECTION_CREDIT_BYTES;
/// The same in requests: bounds what a cut client piles up one by one.
pub const CLIENT_UNSENT_REQUESTS: usize = 100_000;
/// A client acknowledges after this many notices at the latest.
pub const NOTICES_UNACKNOWLEDGED: u64 = 1_000;
/// A client's driver that has just had something to do is not woken for releases alone this long.
pub const CLIENT_DOZE: Duration = Duration::from_millis(2);
/// A client acknowledges notices no later than this: a quiet session's values can be freed.
pub const ACKNOWLEDGE_AFTER: Duration = Duration::from_millis(50);
/// Reports that wait for credit, in bytes of credit; beyond it a worker begins nothing new.
pub const REPORTS_WAITING_BYTES: u64 = CONNECTION_CREDIT_BYTES;

/// Values of released tasks that a session's client is told of together, in bytes with what each takes of a message: some hundred
/// small ones, so that a message for them costs little beside the tasks; one that is large is not kept.
pub const UNAWAITED_BYTES: u64 = 16 << 10;

/// Most pending tasks of one session; then `submit` waits.
pub const SESSION_TASKS: u64 = 5_000_000;
/// Functions that one session holds before `submit` waits: its client may name them, or a pending task calls them.
pub const SESSION_FUNCTIONS: u64 = 1 << 18;
/// The same at the most; beyond it a session ends. What a client that obeys has on the way is far less: each function
/// costs more than [`MESSAGE_COST_BYTES`] of what may wait at the client and on the connection.
pub const SESSION_FUNCTIONS_MOST: u64 = 1 << 20;
/// Different sets of options that one session has, all of which are kept until it ends: more than anybody needs who does not label
/// each task by itself.
pub const SESSION_OPTIONS: usize = 1 << 20;
/// Most inputs of one task that the client names one by one: as many fit into one message ([`MESSAGE_PARTS`]). The coordinator
/// ties a task to them in slices of a step.
pub const TASK_INPUTS: usize = 1 << 20;
/// Longest name, label or tag, in bytes of UTF-8.
pub const NAME_BYTES: usize = 256;
/// Longest single field of an error, in bytes of UTF-8.
pub const FIELD_BYTES: usize = 4 << 10;
/// Longest text of an error with its traceback, in bytes of UTF-8.
pub const ERROR_TEXT_BYTES: usize = 64 << 10;
/// How much of an executor's stderr is kept for the story of its death, in bytes.
pub const LOG_TAIL_BYTES: usize = 4 << 10;
/// Most named resources of a task or a worker.
pub const NAMED_RESOURCES: usize = 32;

/// How many adjacent results one fold merges: enough to spare messages, few enough to start early.
pub const FOLD_INPUTS: usize = 16;
/// Inputs of a combine that travel in one message; the rest follows as it is taken.
pub const STREAMED_INPUTS: usize = 256;

/// Workers that fetch an object from one holder at once: what many want spreads as a tree, not as a star.
pub const OBJECT_SERVES: u32 = 2;
/// A worker that another one could not reach is not tried again by that one for this long: the coordinator passes on.
pub const PEER_RETRY_AFTER: Duration = Duration::from_secs(30);
/// Connections of other workers that a worker holds at a time; those beyond wait to be accepted.
pub const PEER_CONNECTIONS: usize = 256;
/// Objects that a worker fetches at a time; others wait. Each takes a connection, and its bytes twice until it is stored.
pub const PEER_FETCHES: usize = 16;
/// A transfer between workers of which nothing moves for this long has failed, though both are alive: no part of it comes, or
/// none is taken. Long enough for a record of TLS to come at one kilobyte a second.
pub const PEER_PATIENCE: Duration = Duration::from_secs(30);
/// Objects on disk that a worker reads for others at a time; those beyond wait. Each takes its bytes until it has been sent,
/// beside what objects may take in memory.
pub const PEER_DISK_READS: usize = 2;
/// How often a holder may say that an object will come before it does: ten minutes, as it says so eight times in
/// [`PEER_PATIENCE`]. Its disk may have much to do.
pub const PEER_EXCUSES: u32 = 160;
/// A value of so many bytes or more comes to a client of a coordinator elsewhere straight from a worker. Below that another
/// connection with its handshake, a millisecond of processor time at both ends and several round trips, costs more than
/// the way through the coordinator.
pub const DIRECT_BYTES: u64 = 1 << 20;
/// A worker that a client could not reach is not tried again by that one for this long. Longer than among workers
/// ([`PEER_RETRY_AFTER`]): the one who waits is a person, and a network that keeps a client from a worker seldom changes.
pub const DIRECT_RETRY_AFTER: Duration = Duration::from_secs(300);
/// How long a client waits for a worker to accept its connection, which the worker's kernel does: any round trip on earth and one
/// packet lost. What is not reached by then comes through the coordinator.
pub const DIRECT_CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Values that a client fetches from workers at a time; others wait. One is about to be connected, or waits for a worker that does
/// not answer, while the other brings bytes. More keep the first value waiting for the last, and take memory at once that could
/// be used again: four were slower than two by a quarter.
pub const DIRECT_FETCHES: usize = 2;
/// Other workers and clients that a worker remembers to have been introduced; the oldest is forgotten first, clients before
/// workers: those can be relayed to at less cost.
pub const PEERS_REMEMBERED: usize = 16_384;
/// What is kept so that objects can be made again takes one part in this many of what may live with the coordinator;
/// beyond it an object that is lost is lost for good.
pub const LINEAGE_PART: u64 = 4;
/// Tasks that are kept for the same reason at the most: some 300 bytes each.
pub const LINEAGE_TASKS: u64 = 1 << 20;

/// Objects on disk lie in files of about this many bytes, holes included: far below what any file system allows.
pub const SPILL_FILE_BYTES: u64 = 256 << 30;
/// The same where a file can have no holes: all of it is given back at once, when nothing lies in it any more.
pub const SPILL_FILE_BYTES_WITHOUT_HOLES: u64 = 1 << 30;
/// Objects that are written or read at once: enough to keep a disk at work.
pub const SPILL_AT_ONCE: usize = 2;
/// A disk that did not take an object is left alone this long: what fills it may be gone by then.
pub const SPILL_PAUSE: Duration = Duration::from_secs(5);

/// What could not be brought back from disk for want of memory is tried again after this: somebody else may need less then.
pub const MEMORY_PAUSE: Duration = Duration::from_secs(2);
/// So often in a row memory may be wanting, for half a minute or less; then what was to be brought back is given up as lost.
pub const MEMORY_REFUSALS: u32 = 15;

/// Attempts that an executor holds at the most, the running one included: its ring in the shared page.
pub const EXECUTOR_QUEUE: usize = 64;
/// Attempts that a worker offers to hold per slot: covers a round trip to the coordinator at full speed.
pub const WORKER_QUEUE_PER_SLOT: u32 = 256;

/// How many executors a task may kill before it fails, unless its options say otherwise.
pub const CRASH_LIMIT: u32 = 3;
/// Executors that may die before an attempt in their hands, none of them saying what they ran, until it is blamed.
pub const UNBLAMED_DEATHS: u32 = 3;
/// Executors of one worker that may die in a row without finishing anything before the worker waits before the next.
pub const SPAWN_FAILURES: u32 = 5;
/// How long a worker then waits before it starts another.
pub const SPAWN_PAUSE: Duration = Duration::from_secs(1);
/// How long an executor may take to say that it is ready.
pub const SPAWN_TIMEOUT: Duration = Duration::from_secs(60);

/// A chunk that has been at the head of its executor's queue this long may be cut for an idle executor, which first has to
/// unpickle all of it: what is over sooner is not worth that.
pub const CUT_AFTER: Duration = Duration::from_millis(2);
/// The same where something of a larger priority waits: a chunk that takes longer has longer items than were foreseen.
pub const CUT_FOR_LARGER: Duration = Duration::from_millis(50);
/// A piece of a run that fails and is a chunk is tried again in so many parts: enough to be through with thousands of items in
/// a few rounds, few enough that each shares most of what it costs to begin. So many at the most are made of an end, too.
pub const CHUNK_PARTS: u32 = 16;
/// A chunk of a map is shared among workers only if its arguments are no more bytes than this, for whoever gets some of its end
/// gets all of them: over a gigabit a second that takes 34 ms, three times what is waited for until others are given anything.
pub const SHARED_BYTES: u64 = 4 << 20;
/// "Started" travels only for attempts alive longer than this; a chunk may be asked for its end from then on, for idle slots
/// anywhere: where plait sizes it, it was planned as less.
pub const STARTED_AFTER: Duration = Duration::from_millis(10);
/// An executor that is busy is looked at this often, for what it runs and for the memory that it takes.
pub const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A finished result waits in the executor at most this long behind a running task.
pub const FLUSH_AFTER: Duration = Duration::from_micros(200);

/// A Python thread that waits looks for signals this often.
pub const SIGNAL_SLICE: Duration = Duration::from_millis(50);

/// A program that has waited this long in vain asks whether any worker is there: longer than one takes to start.
pub const LULL: Duration = Duration::from_secs(5);

/// A program that has not waited for this long begins a wait anew, and an answer about workers that took longer is out of
/// date: many times [`SIGNAL_SLICE`], after which one that waits shows up again.
pub const LULL_PAUSE: Duration = Duration::from_secs(1);

/// A quiet connection says that it is alive this often.
pub const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
/// A peer that has been silent this long gets nothing new.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(6);
/// A peer that has been silent this long is given up.
pub const FENCE_AFTER: Duration = Duration::from_secs(10);
/// Once a link is closed and nobody listens to it any more, it is read for this long, so that its goodbye arrives.
pub const LINGER: Duration = Duration::from_secs(2);
/// Signs of life without a message are passed on this often.
pub const HEARD_EVERY: Duration = Duration::from_secs(1);
/// Copies of large arguments whose origin a store remembers: as many large arrays as are given to task after task.
pub const COPIES_REMEMBERED: usize = 16;
/// Memory that a process keeps for large segments which are to come, in bytes: what is written to again need not be cleared first, which takes
/// longer than to copy to it.
pub const LANDING_BYTES: usize = 256 << 20;
/// It is kept for so long after it was last used.
pub const LANDING_KEPT: Duration = Duration::from_secs(1);
/// Bytes that a link asks its socket for at once.
pub const READ_BYTES: usize = 64 << 10;
/// Bytes that worker and executor ask their socket for at once: what it holds, so that few messages come in pieces.
pub const CHANNEL_READ_BYTES: usize = 256 << 10;
/// Messages that a link encodes before it writes.
pub const WRITE_MESSAGES: usize = 1_000;
/// Unacknowledged TCP data older than this closes the connection (`TCP_USER_TIMEOUT`).
pub const TCP_USER_TIMEOUT: Duration = Duration::from_secs(8);
/// A session whose connection is lost is kept this long.
pub const SESSION_KEPT: Duration = Duration::from_secs(60);
/// A task that no present worker can ever run fails after this; with embedded workers alone, after [`UNSCHEDULABLE_EMBEDDED`].
pub const UNSCHEDULABLE_AFTER: Duration = Duration::from_secs(60);
/// The same where no other worker can ever come.
pub const UNSCHEDULABLE_EMBEDDED: Duration = Duration::from_millis(200);
/// Items (tasks, reports) that one step of the coordinator takes at the most, about: keeps a step within milliseconds.
pub const STEP_ITEMS: usize = 1_536;
/// How much of each kind one step does beside its events, in tasks (placed, ended, freed): what is left, the next steps do.
pub const STEP_SLICE: usize = 2_048;
/// Peers that have come in and wait for the coordinator's next step.
pub const ARRIVALS: usize = 64;
/// How long a goodbye may take until a connection is closed without it.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long what reads or writes a disk is waited for at the end.
pub const DISK_FAREWELL: Duration = Duration::from_secs(1);
/// How long running work may go on after SIGTERM to a worker.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Between the polite and the final signal to an executor.
pub const KILL_GRACE: Duration = Duration::from_secs(2);

/// Most addresses of one join line; each is tried in turn.
pub const JOIN_ADDRESSES: usize = 16;
/// Most addresses of one host that are tried: the usual one has two, one of each kind.
pub const HOST_ADDRESSES: usize = 16;
/// How long an address of a host is waited for until the next one is tried beside it, as RFC 8305 has it.
pub const ADDRESS_HEAD_START: Duration = Duration::from_millis(250);
/// How long another process may hold the lock of a key folder.
pub const KEY_LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at that lock.
pub const KEY_LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Everything up to the hello must be done within this.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a link holds back its first message for a peer on its own machine to whom memory could be handed: it comes at
/// once, or never.
pub const MEET_PATIENCE: Duration = Duration::from_millis(100);
/// Connections that have not authenticated yet, in total; the oldest goes first.
pub const UNAUTHENTICATED_TOTAL: usize = 1_024;
/// The same per source network (/24 or /56).
pub const UNAUTHENTICATED_PER_SOURCE: usize = 64;
/// After this many failures a source is slowed down to [`ACCEPTS_PER_SECOND`].
pub const FAILURES_BEFORE_SLOWDOWN: u32 = 64;
/// Accepted connections per second and slowed-down source.
pub const ACCEPTS_PER_SECOND: u32 = 200;
/// Sources whose failures are remembered; the oldest is forgotten first.
pub const SOURCES_REMEMBERED: usize = 4_096;
/// A source's failures are logged at most this often.
pub const FAILURE_LOGGED_EVERY: Duration = Duration::from_secs(1);
/// After the system refused to accept (no descriptors left), the listener waits this long.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a client tries to reach its coordinator before it says so.
pub const CLIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a worker tries to reach its coordinator the first time.
pub const WORKER_CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// When it says that it is still trying: who started it with a wrong port should not have to guess, and one that starts
/// together with its coordinator needs no word.
pub const WORKER_SAYS_AFTER: Duration = Duration::from_secs(2);
/// Longest pause between two attempts to reach a coordinator; each is drawn between zero and the current one.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// The first such pause.
pub const BACKOFF_MIN: Duration = Duration::from_millis(50);
