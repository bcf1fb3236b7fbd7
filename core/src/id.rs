//! Names of things: one newtype per kind, so that no two can be mixed up.

use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = $letter:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($letter, "{}"), self.0)
            }
        }

        impl $name {
            /// The id as an index into a dense table.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    )*};
}

ids! {
    /// One client's session with a coordinator; dense, given by the coordinator, never used again.
    SessionId(u32) = "s";
    /// One worker's stay with a coordinator; dense, given by the coordinator, never used again.
    WorkerId(u32) = "w";
    /// One executor process of a worker; never used again by that worker.
    ExecutorId(u32) = "x";
    /// A function of a session; dense, chosen by the client.
    FunctionId(u32) = "f";
    /// A set of task options of a session; dense, chosen by the client.
    OptionsId(u32) = "o";
    /// A run of a session (many tasks and one way to finish them); dense, chosen by the client.
    RunId(u32) = "r";
    /// Which start of a task this is; the first is 1.
    Attempt(u32) = "";
    /// One life of a coordinator; drawn once at its start.
    Epoch(u64) = "e";
}

/// A task's number within its session.
///
/// Clients count from 0. The upper half is the coordinator's: the folds of a run, and the ends of chunks that others got, are tasks
/// that no client named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Seq(pub u64);

impl Seq {
    const INTERNAL: u64 = 1 << 63;

    /// The n-th task that the coordinator itself adds to a session.
    #[must_use]
    pub const fn internal(n: u64) -> Self {
        Self(n | Self::INTERNAL)
    }

    /// Whether the coordinator, not the client, made this task.
    #[must_use]
    pub const fn is_internal(self) -> bool {
        self.0 & Self::INTERNAL != 0
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_internal() { write!(f, "i{}", self.0 & !Self::INTERNAL) } else { write!(f, "{}", self.0) }
    }
}

/// A task, and the name of its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// Whose task it is.
    pub session: SessionId,
    /// Its number there.
    pub seq: Seq,
}

impl TaskId {
    /// The task `seq` of `session`.
    #[must_use]
    pub const fn new(session: SessionId, seq: Seq) -> Self {
        Self { session, seq }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}t{}", self.session, self.seq)
    }
}

/// One start of a task. Every message about a run carries it; what does not match the current one is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The task.
    pub task: TaskId,
    /// Which start of it.
    pub attempt: Attempt,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.task, self.attempt.0)
    }
}

/// A value that lives with workers, by the attempt that made it (0 for one that a client put): it never changes, and what
/// is made again is another object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectId(pub AttemptId);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A function as coordinator and workers know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FunctionKey {
    /// Whose function it is.
    pub session: SessionId,
    /// Its number there.
    pub function: FunctionId,
}

impl fmt::Display for FunctionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.session, self.function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn ids_print_compactly() {
        let task = TaskId::new(SessionId(1), Seq(17));
        assert_eq!(AttemptId { task, attempt: Attempt(2) }.to_string(), "s1t17.2");
        assert_eq!(TaskId::new(SessionId(0), Seq::internal(3)).to_string(), "s0ti3");
        assert!(Seq::internal(0).is_internal() && !Seq(u64::MAX >> 1).is_internal());
    }
}
