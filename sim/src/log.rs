//! The log of all that the machines did: printed when one seed is replayed, hashed to compare two runs of a seed.

use std::fmt::{self, Write};

/// Whether the log is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// Nothing is printed.
    Nothing,
    /// Every line is printed.
    Everything,
}

/// Whether the log is hashed: it costs more than the simulation itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hashed {
    /// No.
    Not,
    /// Yes.
    Wholly,
}

/// The log of one simulated world.
#[derive(Debug)]
pub(crate) struct Log {
    show: Show,
    hashed: Hashed,
    hash: u64,
    lines: u64,
}

impl Log {
    pub(crate) fn new(show: Show, hashed: Hashed) -> Self {
        Self { show, hashed, hash: 0xcbf2_9ce4_8422_2325, lines: 0 }
    }

    /// Adds a line, said by `who` at the true time `now`.
    pub(crate) fn line(&mut self, now: u64, who: fmt::Arguments<'_>, what: fmt::Arguments<'_>) {
        self.lines += 1;
        if self.show == Show::Everything {
            println!("{:>12.6} {who}: {}", now as f64 / 1e9, compact(what.to_string()));
        }
        if self.hashed == Hashed::Wholly {
            writeln!(self, "{now} {who} {what}").expect("a hash takes everything");
        }
    }

    /// The hash of all lines so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there were.
    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }
}

/// Says ids as their `Display` does: what is derived for `Debug` is hard on the eye.
fn compact(mut text: String) -> String {
    for (long, short) in [
        ("AttemptId { task: TaskId { session: SessionId(", "s"),
        ("TaskId { session: SessionId(", "s"),
        ("), seq: Seq(", "t"),
        (") }, attempt: Attempt(", "."),
        ("SessionId(", "s"),
        ("WorkerId(", "w"),
        ("ExecutorId(", "x"),
        ("FunctionId(", "f"),
        ("OptionsId(", "o"),
        ("RunId(", "r"),
        ("Entry(", "e"),
        ("Seq(", "t"),
        ("Value(Value(", "Value("),
        (", named: []", ""),
        (", hash: [", ", ["),
        (" 0, 0, 0, 0, 0,", ""),
    ] {
        text = text.replace(long, short);
    }
    text.replace(") }", "").replace(')', "")
}

impl Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}
