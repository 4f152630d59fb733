//! What a peer newly acknowledges, counted, and how long the latest of it took.
//!
//! quinn tells how many acknowledgements came, and a peer that hears nothing any more goes on repeating its last one. Only
//! the congestion controller is told of each packet once, so quinn's usual one is made to count besides.

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

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
        Box::new(Counting { cubic, acks: Acks::default() })
    }
}

/// What was acknowledged of what was sent to be. It begins again where the peer moves to another address.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Acks {
    /// Packets, each counted once.
    pub(crate) count: u64,
    /// How long the latest of them took.
    latest: [Duration; 8],
}

impl Acks {
    /// Of a connection.
    ///
    /// # Panics
    /// If its transport is not that of a link.
    pub(crate) fn of(connection: &Connection) -> Self {
        let counting = connection.congestion_state().into_any().downcast::<Counting>();
        counting.expect("every link's transport has this controller").acks
    }

    /// The longest that one of the latest took, if there are any.
    pub(crate) fn slowest(&self) -> Option<Duration> {
        self.latest.into_iter().max().filter(|_| self.count > 0)
    }

    fn note(&mut self, took: Duration) {
        self.latest.rotate_left(1);
        let [.., last] = &mut self.latest;
        *last = took;
        self.count += 1;
    }
}

#[derive(Debug, Clone)]
struct Counting {
    cubic: Cubic,
    acks: Acks,
}

impl Controller for Counting {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.cubic.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, app_limited: bool, rtt: &RttEstimator) {
        self.acks.note(now.saturating_duration_since(sent));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_the_latest_eight_counts() {
        let mut acks = Acks::default();
        assert_eq!(acks.slowest(), None);
        acks.note(Duration::from_millis(500));
        for count in 2..=8 {
            acks.note(Duration::from_millis(count));
            assert_eq!((acks.count, acks.slowest()), (count, Some(Duration::from_millis(500))));
        }
        acks.note(Duration::from_millis(1));
        assert_eq!(acks.slowest(), Some(Duration::from_millis(8)));
    }
}
