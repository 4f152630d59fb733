//! What a peer newly acknowledges, counted.
//!
//! quinn tells how many acknowledgements came, and a peer that hears nothing any more goes on repeating its last one. Only
//! the congestion controller is told of each packet once, so quinn's usual one is made to count besides.

use std::{any::Any, sync::Arc, time::Instant};

use quinn::{
    Connection,
    congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig},
};
use quinn_proto::RttEstimator;

/// Makes controllers that count.
#[derive(Debug, Default)]
pub(crate) struct CountingConfig(Arc<CubicConfig>);

impl ControllerFactory for CountingConfig {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let cubic = Cubic::new(self.0.clone(), now, current_mtu);
        Box::new(Counting { cubic, acknowledged: 0 })
    }
}

/// Packets of this connection that were sent to be acknowledged, and were, each counted once. It begins again where the
/// peer moves to another address.
///
/// # Panics
/// If the connection's transport is not that of a link.
pub(crate) fn acknowledged(connection: &Connection) -> u64 {
    let counting = connection.congestion_state().into_any().downcast::<Counting>();
    counting.expect("every link's transport has this controller").acknowledged
}

#[derive(Debug, Clone)]
struct Counting {
    cubic: Cubic,
    acknowledged: u64,
}

impl Controller for Counting {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.acknowledged += 1;
        self.cubic.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest_packet_num_acked: Option<u64>) {
        self.cubic.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, is_persistent_congestion: bool, lost_bytes: u64) {
        self.cubic.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.cubic.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        self.cubic.window()
    }

    fn metrics(&self) -> ControllerMetrics {
        self.cubic.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.cubic.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
