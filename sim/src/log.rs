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
            println!("{:>12.6} {who}: {what}", now as f64 / 1e9);
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

impl Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(())
    }
}
