//! What plait's own processes say about themselves on stderr. Never installed in a user's process.

use tracing_subscriber::EnvFilter;

/// What is shown where `PLAIT_LOG` says nothing: what was lost, and what somebody must act upon.
const DEFAULT_FILTER: &str = "warn";

/// Lets this process speak on stderr, filtered by `filter` (the text of `PLAIT_LOG`). Only for the processes of the
/// command line; a second call changes nothing.
pub fn install(filter: Option<&str>) {
    let filter = filter.filter(|text| !text.is_empty()).unwrap_or(DEFAULT_FILTER);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false)
        .finish();
    // Fails only where one is installed already, which then stays.
    drop(tracing::subscriber::set_global_default(subscriber));
}
