//! How long a step takes: the time by the clock without what the thread waited for a processor, so that a busy machine
//! does not look like a slow step.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Measures spans of this thread.
#[derive(Debug)]
pub(crate) struct Clock {
    /// What the kernel says of this thread's time; its second number is nanoseconds spent waiting.
    waits: File,
}

/// A span that has begun.
#[derive(Debug)]
pub(crate) struct Span {
    begin: Instant,
    waited: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { waits: File::open("/proc/thread-self/schedstat").expect("Linux tells a thread how it is scheduled") }
    }

    pub(crate) fn begin(&self) -> Span {
        Span { waited: self.waited(), begin: Instant::now() }
    }

    pub(crate) fn end(&self, span: &Span) -> Duration {
        let all = span.begin.elapsed();
        all.saturating_sub(Duration::from_nanos(self.waited() - span.waited))
    }

    fn waited(&self) -> u64 {
        let mut text = [0; 128];
        let read = self.waits.read_at(&mut text, 0).expect("it can be read again and again");
        let text = std::str::from_utf8(&text[..read]).expect("it is text");
        text.split_ascii_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("its second word is a number")
    }
}

/// Memory of this process that is in use, as the kernel counts it.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells a process its size");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the resident size is among it");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("it is a number of kB");
    kib << 10
}
