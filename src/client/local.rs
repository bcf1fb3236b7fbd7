//! A client whose coordinator lives in the same process.

use super::Handle;
use super::driver::{Dialled, Driver, Ended, Resumption, Uplink, Upstream};
use crate::clock::draw_seed;
use crate::store::blob::Store;
use crate::store::objects::Objects;
use plait_core::client::Resume;
use plait_core::id::Epoch;
use std::pin::Pin;
use std::sync::Arc;

/// A client over a link that is there already, and its driver, to be run by whoever owns the runtime. When the link ends,
/// the client has lost its coordinator. `value_limit` is what the coordinator will say when it welcomes the client, known
/// here before that.
pub fn over(epoch: Epoch, value_limit: u64, link: Uplink) -> (Handle, impl Future<Output = Ended> + Send + use<>) {
    let handle = Handle::new(Some(Arc::new(Objects::new(Store::new()))));
    handle.0.outgoing.limit_values(value_limit);
    let driver = Driver::new(&handle, Local(Some((epoch, link))), draw_seed());
    (handle, driver.run())
}

/// A link that can be had once.
struct Local(Option<(Epoch, Uplink)>);

impl Upstream for Local {
    const RESUME: Resume = Resume::Never;

    fn dial(&mut self, _resume: Option<Resumption>) -> Pin<Box<dyn Future<Output = Dialled> + Send>> {
        let dialled = self.0.take().map_or(Dialled::Refused, |(epoch, link)| Dialled::Link(epoch, link));
        Box::pin(std::future::ready(dialled))
    }
}
