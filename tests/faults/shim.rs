//! A layer-3 shim between two TUN devices: what goes through is delayed, put out of order, or lost if it is too large.
//!
//! The kernels of test machines have no netem. One device stands on a replica's host, the other on the public router; routes
//! lead the replica's traffic through as long as the shim lives.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tun_rs::{DeviceBuilder, SyncDevice};
use underpass_tests::harness::client::Pattern;

use crate::{
    lab::{Replica, route_out, uplink},
    netns::Netns,
};

/// Most packets under way in one direction; beyond it they are dropped, as by a router.
const QUEUE_MAX: usize = 4_096;
const PACKET_MAX: usize = 64 * 1024;
/// How long a thread waits at most before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);
const LOOK_AS_TIMESPEC: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// What the shim does to packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// How long each one takes.
    pub(crate) delay: Duration,
    /// How much longer it may take, by chance: later ones overtake.
    pub(crate) jitter: Duration,
    /// Larger ones are lost without a word.
    pub(crate) largest: usize,
}

impl Weather {
    /// When a packet comes out; none if it does not. Pure.
    fn passes(&self, now: Instant, length: usize, dice: u64) -> Option<Instant> {
        let jitter = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX);
        let later = Duration::from_micros(if jitter == 0 { 0 } else { dice % jitter });
        (length <= self.largest).then(|| now + self.delay + later)
    }
}

/// A shim in force; gone when dropped.
#[derive(Debug)]
pub(crate) struct Shim {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Shim {
    /// Leads all that a replica says to the edges, and hears from them, through this weather.
    ///
    /// # Panics
    /// If this process may not make TUN devices.
    #[must_use]
    pub(crate) fn raise(replica: &Replica, core: &Netns, weather: Weather) -> Self {
        let (number, address) = (replica.number, uplink(replica.number, 2));
        let name = format!("shim{number}");
        let (near, far) = (device(&replica.netns, &name), device(core, &name));
        replica.netns.ip(&format!("route replace default dev {name} src {address}"));
        core.ip(&format!("route replace {address}/32 dev {name}"));
        let mut shim = Self { stop: Arc::default(), threads: Vec::new() };
        shim.carry(&near, &far, weather);
        shim.carry(&far, &near, weather);
        shim
    }

    /// Leads the replica's traffic the plain way again.
    pub(crate) fn lower(self, replica: &Replica, core: &Netns) {
        route_out(&replica.netns, replica.number);
        core.ip(&format!("route del {}/32 dev shim{}", uplink(replica.number, 2), replica.number));
    }

    fn carry(&mut self, from: &Arc<SyncDevice>, to: &Arc<SyncDevice>, weather: Weather) {
        let queue = Arc::new(Queue::default());
        let (reader, writer) = (from.clone(), to.clone());
        let (filled, emptied) = (queue.clone(), queue);
        let (stop, stopped) = (self.stop.clone(), self.stop.clone());
        self.threads.push(thread::spawn(move || read(&reader, &filled, weather, &stop)));
        self.threads.push(thread::spawn(move || write(&writer, &emptied, &stopped)));
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// When it comes out, its number, and its bytes.
type Packet = (Instant, u64, Vec<u8>);

/// Packets under way in one direction, the next to come out first.
#[derive(Debug, Default)]
struct Queue {
    packets: Mutex<BinaryHeap<Reverse<Packet>>>,
    filled: Condvar,
}

fn device(netns: &Netns, name: &str) -> Arc<SyncDevice> {
    let device = netns.inside(|| DeviceBuilder::new().name(name).mtu(1500).build_sync());
    let device = device.expect("root may make a TUN device");
    device.set_nonblocking(true).expect("a device can be told not to block");
    netns.ip(&format!("link set {name} up"));
    Arc::new(device)
}

fn read(device: &SyncDevice, queue: &Queue, weather: Weather, stop: &AtomicBool) {
    let mut dice = Pattern::new(7);
    let mut buffer = vec![0; PACKET_MAX];
    let mut number = 0;
    while !stop.load(Ordering::SeqCst) {
        let mut waiting = [PollFd::new(device, PollFlags::IN)];
        let _ = poll(&mut waiting, Some(&LOOK_AS_TIMESPEC));
        let Ok(length) = device.recv(&mut buffer) else { continue };
        number += 1;
        let Some(when) = weather.passes(Instant::now(), length, dice.number()) else { continue };
        let mut packets = queue.packets.lock().expect("no panic while held");
        if packets.len() < QUEUE_MAX {
            packets.push(Reverse((when, number, buffer[..length].to_vec())));
        }
        drop(packets);
        queue.filled.notify_one();
    }
}

fn write(device: &SyncDevice, queue: &Queue, stop: &AtomicBool) {
    let mut packets = queue.packets.lock().expect("no panic while held");
    while !stop.load(Ordering::SeqCst) {
        let now = Instant::now();
        let wait = packets.peek().map_or(LOOK, |Reverse((when, ..))| when.saturating_duration_since(now));
        if wait.is_zero() {
            let Some(Reverse((_, _, packet))) = packets.pop() else { continue };
            drop(packets);
            // A packet that the other side does not take is lost, as on a network.
            let _ = device.send(&packet);
            packets = queue.packets.lock().expect("no panic while held");
        } else {
            packets = queue.filled.wait_timeout(packets, wait.min(LOOK)).expect("no panic while held").0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_delayed_overtaken_and_lost_by_size() {
        let now = Instant::now();
        let weather = Weather { delay: Duration::from_millis(50), jitter: Duration::from_millis(30), largest: 1_280 };
        assert_eq!(weather.passes(now, 1_280, 0), Some(now + Duration::from_millis(50)));
        assert_eq!(weather.passes(now, 1_280, 10_000), Some(now + Duration::from_millis(60)));
        assert_eq!(weather.passes(now, 1_281, 0), None);
        let steady = Weather { jitter: Duration::ZERO, ..weather };
        assert_eq!(steady.passes(now, 1, 12_345), Some(now + Duration::from_millis(50)));
    }
}
