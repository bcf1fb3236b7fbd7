//! Worker and worker: one comes to fetch, the other holds.

use super::Message;
use crate::id::ObjectId;
use crate::value::Value;
use serde::{Deserialize, Serialize};

/// To the worker that holds objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHolder {
    /// Send this object.
    Fetch(ObjectId),
}

/// From the worker that holds objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromHolder {
    /// The answer to `Fetch`.
    Sent {
        /// Which object.
        object: ObjectId,
        /// All of it, if it is there.
        value: Option<Value>,
    },
    /// The answer will come: the object has to be read first.
    Soon {
        /// Which object.
        object: ObjectId,
    },
}

impl Message for ToHolder {
    fn each_value(&self, _: &mut dyn FnMut(&Value)) {}

    fn each_value_mut(&mut self, _: &mut dyn FnMut(&mut Value)) {}
}

impl Message for FromHolder {
    fn each_value(&self, show: &mut dyn FnMut(&Value)) {
        match self {
            Self::Sent { value, .. } => value.iter().for_each(show),
            Self::Soon { .. } => {}
        }
    }

    fn each_value_mut(&mut self, fill: &mut dyn FnMut(&mut Value)) {
        match self {
            Self::Sent { value, .. } => value.iter_mut().for_each(fill),
            Self::Soon { .. } => {}
        }
    }
}
