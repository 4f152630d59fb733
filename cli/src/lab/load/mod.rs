//! Steady load from honest clients: new connections at a fixed pace whatever becomes of the earlier ones, kept
//! connections and UDP sessions, and long flows. Every byte that comes back is checked.
//!
//! It judges nothing: it hands out samples.

mod client;
mod session;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rig::{
    books::{Books, Taken},
    stalls::{Spans, TICK},
};
use tokio::{sync::Semaphore, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::plan::{Ground, Plan, SERVICES, Service, Speech};

/// Connections of one listener whose opening has not ended yet; a client that would be one more waits its turn.
const OPENING_MAX: usize = 256;

/// How much is asked of each listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace {
    /// From one new connection to the next.
    new_every: Duration,
    /// Kept connections or long flows.
    kept: usize,
    /// From one exchange on each of those to the next.
    kept_every: Duration,
}

/// About 270 exchanges a second through two edges, and 240 blocks.
fn pace(service: &Service) -> Pace {
    let pace = |new_ms, kept, kept_ms| Pace {
        new_every: Duration::from_millis(new_ms),
        kept,
        kept_every: Duration::from_millis(kept_ms),
    };
    match service.speech {
        Speech::Http => pace(50, 4, 200),
        Speech::Echo => pace(200, 6, 50),
        Speech::Dns => pace(200, 4, 200),
    }
}

/// Clients at work; dropping it stops them.
#[derive(Debug)]
pub(super) struct Load {
    books: Arc<Books>,
    stalls: Arc<Mutex<Spans>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A listener of an edge, as its clients know it.
#[derive(Debug, Clone, Copy)]
struct Goal {
    at: SocketAddr,
    edge: usize,
    service: &'static Service,
    ground: Ground,
}

impl Load {
    /// Sets clients upon every listener of every edge.
    pub(super) fn start(plan: &Plan) -> Self {
        let goals = plan.edges.iter().enumerate().flat_map(|(edge, own)| {
            let goal = move |(service, at)| Goal { at, edge, service, ground: plan.ground };
            SERVICES.iter().zip(own.listeners).map(goal)
        });
        Self::upon(goals)
    }

    fn upon(goals: impl IntoIterator<Item = Goal>) -> Self {
        let (books, stalls) = (Arc::new(Books::new(Instant::now())), Arc::<Mutex<Spans>>::default());
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(look_for_stalls(books.clone(), stalls.clone(), stop.clone()));
        for goal in goals {
            let pace = pace(goal.service);
            tasks.spawn(open_steadily(goal, pace, books.clone(), stop.clone(), tasks.clone()));
            for number in 0..pace.kept {
                // Spread over the interval, so that something is always on its way.
                let first = pace.kept_every.mul_f64(number as f64 / pace.kept as f64);
                tasks.spawn(keep(goal, first, pace.kept_every, books.clone(), stop.clone()));
            }
        }
        tasks.close();
        Self { books, stalls, stop, tasks }
    }

    /// Time since the beginning, as samples have it.
    pub(super) fn now(&self) -> Duration {
        self.books.now()
    }

    /// What ended since the last call.
    pub(super) fn take(&self) -> Taken {
        self.books.take()
    }

    /// When the clients were not let run.
    pub(super) fn stalls(&self) -> Spans {
        self.stalls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins nothing new and waits for what is on its way.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Notes when this very task, which stands for all clients since it shares their workers, was due and was not let run.
async fn look_for_stalls(books: Arc<Books>, stalls: Arc<Mutex<Spans>>, stop: CancellationToken) {
    loop {
        let due = books.now() + TICK;
        tokio::select! {
            () = tokio::time::sleep(TICK) => (),
            () = stop.cancelled() => return,
        }
        stalls.lock().unwrap_or_else(PoisonError::into_inner).tick(due, books.now());
    }
}

async fn open_steadily(goal: Goal, pace: Pace, books: Arc<Books>, stop: CancellationToken, tasks: TaskTracker) {
    let room = Arc::new(Semaphore::new(OPENING_MAX));
    let mut ticks = tokio::time::interval(pace.new_every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = async {
            ticks.tick().await;
            room.clone().acquire_owned().await.expect("the semaphore is never closed")
        };
        let permit = tokio::select! {
            permit = next => permit,
            () = stop.cancelled() => return,
        };
        let books = books.clone();
        tasks.spawn(async move {
            client::visit(&goal, &books).await;
            drop(permit);
        });
    }
}

/// Keeps one connection busy, and opens another when it is lost.
async fn keep(goal: Goal, first: Duration, every: Duration, books: Arc<Books>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept = None;
    loop {
        tokio::select! {
            _ = ticks.tick() => (),
            () = stop.cancelled() => return,
        }
        kept = match kept.take() {
            None => client::Kept::open(&goal, &books).await,
            Some(open) => client::Kept::exchange(open, &goal, &books).await,
        };
    }
}

#[cfg(test)]
mod tests;
