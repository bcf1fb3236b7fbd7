//! The protocol's tests: any message through any split, hostile bytes, and the kept bytes of every variant.

mod arbitrary;
mod beside;
mod frame;
mod golden;
mod passing;

use super::message::Message;
use super::message::client::{FromClient, ToClient};
use super::message::executor::{FromExecutor, ToExecutor};
use super::message::peer::{FromHolder, ToHolder};
use super::message::worker::{FromWorker, ToWorker};
use std::fmt::Debug;

/// Something to be done for every kind of message.
trait ForEach {
    fn visit<M: Message + Debug + PartialEq + Clone>(&mut self, name: &'static str);
}

fn for_each_kind(visitor: &mut impl ForEach) {
    visitor.visit::<FromClient>("FromClient");
    visitor.visit::<ToClient>("ToClient");
    visitor.visit::<FromWorker>("FromWorker");
    visitor.visit::<ToWorker>("ToWorker");
    visitor.visit::<FromExecutor>("FromExecutor");
    visitor.visit::<ToExecutor>("ToExecutor");
    visitor.visit::<FromHolder>("FromHolder");
    visitor.visit::<ToHolder>("ToHolder");
}
