//! The messages, named by direction. One enum per pair of roles and direction.

pub mod client;
pub mod executor;
pub mod worker;

use crate::value::Value;

/// A message whose values travel behind it.
///
/// In the encoded control message each [`Value`] is only its lengths. Whoever sends asks for the values in order and puts
/// their segments behind; whoever receives asks for the same values in the same order and attaches them.
pub trait Message: serde::Serialize + serde::de::DeserializeOwned + Send + 'static {
    /// Shows every value of the message, in a fixed order.
    fn each_value(&self, show: &mut dyn FnMut(&Value));
    /// The same, to fill them.
    fn each_value_mut(&mut self, fill: &mut dyn FnMut(&mut Value));
}
