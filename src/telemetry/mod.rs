//! What plait's own processes say about themselves on stderr. Never installed in a user's process.

mod scribe;

pub(crate) use scribe::Scribe;
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;

/// What is shown where `PLAIT_LOG` says nothing: what was lost, and what somebody must act upon.
const DEFAULT_FILTER: &str = "warn";
/// The same where somebody sits and watches: who comes and goes, too.
const TERMINAL_FILTER: &str = "warn,plait::coordinator=info,plait::worker=info";

/// Who writes the log of this process, once it has one; nobody where there is no stderr.
static SCRIBE: OnceLock<Option<Scribe>> = OnceLock::new();

/// The log of this process. Waits, when dropped, until what was logged is written, or for a moment if that is not to be.
#[must_use = "dropped at the end of the process, it has the last lines written"]
#[derive(Debug)]
pub struct Log(());

/// Lets this process speak on stderr, filtered by `filter` (the text of `PLAIT_LOG`). Only for the processes of the
/// command line; a second call changes nothing. Whoever logs never waits for stderr and does not hear of its errors.
pub fn install(filter: Option<&str>) -> Log {
    if let Some(scribe) = SCRIBE.get_or_init(Scribe::of_stderr) {
        let unasked = if std::io::stderr().is_terminal() { TERMINAL_FILTER } else { DEFAULT_FILTER };
        let filter = filter.filter(|text| !text.is_empty()).unwrap_or(unasked);
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(move || scribe.clone())
            .with_target(false)
            // It would panic where stderr takes nothing.
            .log_internal_errors(false)
            .finish();
        // Fails only where one is installed already, which then stays.
        drop(tracing::subscriber::set_global_default(subscriber));
    }
    Log(())
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(Some(scribe)) = SCRIBE.get() {
            scribe.flush();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};
    use tracing::subscriber::{DefaultGuard, set_default};

    /// What this thread logs at `warn` while the guard lives.
    #[derive(Clone, Default)]
    pub(crate) struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        pub(crate) fn capture() -> (Self, DefaultGuard) {
            let lines = Self::default();
            let writer = lines.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::WARN)
                .with_writer(move || writer.clone())
                .with_ansi(false)
                .finish();
            (lines, set_default(subscriber))
        }

        pub(crate) fn read(&self) -> Vec<String> {
            String::from_utf8_lossy(&self.0.lock().unwrap()).lines().map(str::to_owned).collect()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
