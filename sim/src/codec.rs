//! Packets through the codec and back: what comes out must be what went in.

use crate::cluster::World;
use crate::network::Packet;
use bytes::Bytes;
use plait_core::protocol::codec;
use plait_core::protocol::message::Message;
use std::collections::VecDeque;
use std::fmt::Debug;

impl World {
    /// Encodes and decodes a share of all messages, as a network would.
    pub(crate) fn through_codec(&mut self, packet: Packet) -> Packet {
        if !self.rng.chance(self.plan.coded, 100) {
            return packet;
        }
        match packet {
            Packet::ToWorker(message) => Packet::ToWorker(coded(&message)),
            Packet::FromWorker(message) => Packet::FromWorker(coded(&message)),
            Packet::ToClient(message) => Packet::ToClient(coded(&message)),
            Packet::FromClient(message) => Packet::FromClient(coded(&message)),
            other @ (Packet::WorkerHello(_) | Packet::ClientHello { .. } | Packet::Heartbeat | Packet::Close) => other,
        }
    }
}

fn coded<M: Message + PartialEq + Debug>(message: &M) -> M {
    let mut bytes = Vec::new();
    codec::encode(message, &mut bytes).expect("every message can be encoded");
    let mut segments: VecDeque<Bytes> = VecDeque::new();
    message.each_value(&mut |value| segments.extend(value.clone().into_segments()));
    let mut decoded: M = codec::decode(&bytes).expect("what was encoded can be decoded");
    decoded.each_value_mut(&mut |value| {
        let taken = value.attach(|length| segments.pop_front().filter(|segment| segment.len() as u64 == length));
        taken.expect("the values are asked for in the order in which they are shown");
    });
    assert_eq!(decoded, *message, "the codec changed a message");
    decoded
}
