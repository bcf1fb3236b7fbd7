//! What plait's own processes say about themselves on stderr. Never installed in a user's process.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// What is shown where `PLAIT_LOG` says nothing: what was lost, and what somebody must act upon.
const DEFAULT_FILTER: &str = "warn";
/// The same where somebody sits and watches: who comes and goes, too.
const TERMINAL_FILTER: &str = "warn,plait::coordinator=info,plait::worker=info";

/// Lets this process speak on stderr, filtered by `filter` (the text of `PLAIT_LOG`). Only for the processes of the
/// command line; a second call changes nothing.
pub fn install(filter: Option<&str>) {
    let unasked = if std::io::stderr().is_terminal() { TERMINAL_FILTER } else { DEFAULT_FILTER };
    let filter = filter.filter(|text| !text.is_empty()).unwrap_or(unasked);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false)
        .finish();
    // Fails only where one is installed already, which then stays.
    drop(tracing::subscriber::set_global_default(subscriber));
}
