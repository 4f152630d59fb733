//! Which flows are open, and where: so that whoever empties something sees what is left of it. It decides nothing.
//!
//! A flow takes its seat in the part of the thread that places it, so nobody waits there but for whoever leaves one, or counts.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use protocol::splice::Count;

use crate::{
    model::{Held, Listener, LoadBalancer, Origin, Pool, Subject},
    offramp::Way,
};

/// More than there are threads that place flows on most machines.
const PARTS: u8 = 16;

/// Every open flow.
#[derive(Debug, Default)]
pub struct Flows {
    parts: [Mutex<Part>; PARTS as usize],
}

/// Those of one thread. Seats that are free are taken first, so there are as many as there were flows at once.
#[derive(Debug, Default)]
struct Part {
    seats: Vec<Option<Arc<Sitting>>>,
    free: Vec<u32>,
}

/// Where a flow is.
#[derive(Debug)]
pub(in crate::listener) struct Sitting {
    /// Where it came in.
    pub(in crate::listener) listener: Arc<Listener>,
    /// What has placed it where; absent: it is where it was for.
    pub(in crate::listener) at: Option<Placement>,
    /// What leads there.
    pub(in crate::listener) way: Way,
    /// Since when.
    pub(in crate::listener) since: Instant,
    /// What it has carried, and how much of that before it came here.
    pub(in crate::listener) count: OnceLock<(Count, u64)>,
}

/// What has placed a flow, and on what.
#[derive(Debug)]
pub(in crate::listener) struct Placement {
    /// The load balancer.
    pub(in crate::listener) balancer: Arc<LoadBalancer>,
    /// The pool.
    pub(in crate::listener) pool: Arc<Pool>,
    /// The origin in it.
    pub(in crate::listener) origin: Arc<Origin>,
}

/// A flow's seat: it counts on its origin, and is seen, until this is dropped.
#[derive(Debug)]
pub(in crate::listener) struct Seat {
    flows: Arc<Flows>,
    /// In which part, and where there: small, since a flow's place is moved about.
    part: u8,
    number: u32,
    sitting: Arc<Sitting>,
    _held: Held,
}

/// What is left of something at a moment. It can be looked at again: what has left meanwhile counts up to its end.
#[derive(Debug)]
pub struct Left {
    sitting: Vec<Arc<Sitting>>,
    connections: Option<usize>,
}

thread_local! {
    static PART: u8 = {
        static THREADS: AtomicU8 = AtomicU8::new(0);
        THREADS.fetch_add(1, Ordering::Relaxed) % PARTS
    };
}

impl Flows {
    fn part(&self, number: u8) -> MutexGuard<'_, Part> {
        self.parts[usize::from(number)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seats a flow, which counts on its origin already.
    pub(in crate::listener) fn seat(self: &Arc<Self>, sitting: Sitting, held: Held) -> Seat {
        let (part, sitting) = (PART.with(|part| *part), Arc::new(sitting));
        let number = self.part(part).take(sitting.clone());
        Seat { flows: self.clone(), part, number, sitting, _held: held }
    }

    /// Every flow that is there.
    pub(in crate::listener) fn left(&self, subject: &Subject) -> Left {
        let of_part = |number| {
            let part = self.part(number);
            let all = part.seats.iter().flatten().filter(|sitting| sitting.is_at(subject));
            all.cloned().collect::<Vec<_>>()
        };
        Left { sitting: (0..PARTS).flat_map(of_part).collect(), connections: None }
    }
}

impl Part {
    fn take(&mut self, sitting: Arc<Sitting>) -> u32 {
        if let Some(number) = self.free.pop() {
            self.seats[number as usize] = Some(sitting);
            return number;
        }
        self.seats.push(Some(sitting));
        u32::try_from(self.seats.len() - 1).expect("there are fewer flows than ports and files")
    }
}

impl Sitting {
    fn is_at(&self, subject: &Subject) -> bool {
        let at = self.at.as_ref();
        let is_of = |name| self.way.connector().is_some_and(|connector| connector == name);
        match subject {
            Subject::Connector(name) => is_of(name),
            Subject::Replica { connector, replica } => {
                is_of(connector) && self.way.link().is_some_and(|link| link.replica == *replica)
            }
            Subject::Origin { pool, origin } => at.is_some_and(|at| at.origin.name == *origin && at.pool.name == *pool),
            Subject::Pool(name) => at.is_some_and(|at| at.pool.name == *name),
            Subject::LoadBalancer(name) => at.is_some_and(|at| at.balancer.name == *name),
            Subject::Listener(name) => self.listener.name == *name,
        }
    }

    fn bytes(&self) -> u64 {
        self.count.get().map_or(0, |(count, before)| carried(count).saturating_sub(*before))
    }
}

fn carried(count: &Count) -> u64 {
    count.sent() + count.received()
}

impl Seat {
    /// What the flow carries is counted here.
    pub(in crate::listener) fn counts(&self, count: &Count) {
        // It has one count, whatever is tried here.
        let _ = self.sitting.count.set((count.clone(), carried(count)));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut part = self.flows.part(self.part);
        part.seats[self.number as usize] = None;
        part.free.push(self.number);
    }
}

impl Left {
    /// The same of a listener that has so many connections open, with requests on them or not.
    #[must_use]
    pub(in crate::listener) fn with_connections(self, connections: usize) -> Self {
        Self { connections: Some(connections), ..self }
    }

    /// How many flows.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.sitting.len().max(self.connections.unwrap_or(0))
    }

    /// How long the oldest has been there.
    #[must_use]
    pub fn oldest(&self, now: Instant) -> Option<Duration> {
        self.sitting.iter().map(|sitting| now.saturating_duration_since(sitting.since)).max()
    }

    /// What they have carried there, both ways.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sitting.iter().map(|sitting| sitting.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::model::Catalog;

    fn catalog() -> Catalog {
        let file = "name = \"edge-1\"\n[tunnel]\nlisten = \"127.0.0.1:7843\"\n[[pool]]\nname = \"web\"\n\
             [[pool.origin]]\nname = \"a\"\naddress = \"127.0.0.1:80\"\n\
             [[pool.origin]]\nname = \"b\"\naddress = \"127.0.0.1:81\"\n\
             [[load_balancer]]\nname = \"lb\"\npools = [\"web\"]\n\
             [[listener]]\nname = \"www\"\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:8000\"\nload_balancer = \"lb\"\n";
        crate::config::parse(file, "edge.toml".as_ref()).unwrap_or_else(|wrong| panic!("{wrong}")).catalog
    }

    fn subject(kind: &str, name: &str) -> Subject {
        Subject::read(kind, name).expect("right")
    }

    /// A flow at this origin of the catalog, and what counts it.
    fn sit(flows: &Arc<Flows>, catalog: &Catalog, origin: usize) -> Seat {
        let (balancer, pool) = (catalog.load_balancers[0].clone(), catalog.pools[0].clone());
        let origin = pool.origins[origin].clone();
        let sitting = Sitting {
            listener: catalog.listeners[0].clone(),
            at: Some(Placement { balancer, pool, origin }),
            way: Way::Direct(Arc::new(net::Os)),
            since: Instant::now(),
            count: OnceLock::new(),
        };
        flows.seat(sitting, Held::new(&Arc::new(AtomicUsize::new(0))))
    }

    #[test]
    fn flows_are_seen_where_they_are_until_they_leave() {
        let (flows, catalog) = (Arc::new(Flows::default()), catalog());
        let (one, two, other) = (sit(&flows, &catalog, 0), sit(&flows, &catalog, 0), sit(&flows, &catalog, 1));
        let count = |kind, name| flows.left(&subject(kind, name)).flows();
        assert_eq!((count("origin", "web/a"), count("origin", "web/b"), count("origin", "api/a")), (2, 1, 0));
        assert_eq!((count("pool", "web"), count("load_balancer", "lb"), count("listener", "www")), (3, 3, 3));
        assert_eq!(count("connector", "dc1"), 0, "they go directly");
        drop(one);
        let three = sit(&flows, &catalog, 1);
        assert_eq!((count("origin", "web/a"), count("origin", "web/b")), (1, 2), "a free seat is taken again");
        drop((two, other, three));
        assert_eq!(count("pool", "web"), 0);
        let seats: usize = (0..PARTS).map(|part| flows.part(part).seats.len()).sum();
        assert_eq!(seats, 3, "no more than there were at once");
    }

    #[test]
    fn what_a_flow_carries_counts_where_it_is_and_up_to_its_end() {
        let (flows, catalog) = (Arc::new(Flows::default()), catalog());
        let (seat, count) = (sit(&flows, &catalog, 0), Count::default());
        count.add_sent(10);
        seat.counts(&count);
        let left = flows.left(&subject("origin", "web/a"));
        assert_eq!(left.bytes(), 0, "that was elsewhere");
        count.add_received(5);
        drop(seat);
        count.add_sent(2);
        assert_eq!(left.bytes(), 7);
        assert!(left.oldest(Instant::now() + Duration::from_secs(3)).is_some_and(|age| age.as_secs() == 3));
    }
}
