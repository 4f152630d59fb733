//! UDP clients and origins: the rig's, for tests that panic.

use std::{
    net::SocketAddr,
    ops::Deref,
    time::{Duration, Instant},
};

use rig::{
    client::{
        PATIENCE,
        udp::{self, Asking},
    },
    load,
    sample::{Kind, Sample, Trouble},
};

use super::{
    load::{GOAL, end},
    wait,
};

/// Silence after which a question is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// The same of a client that asks steadily, which asks the next so soon, too.
const STEADY_EVERY: Duration = Duration::from_millis(10);
/// Whoever waits for such a client gives up before it does.
const FOR_LONG: Duration = Duration::from_secs(60);

/// A small UDP origin; gone when dropped.
#[derive(Debug)]
pub struct UdpOrigin(rig::origin::udp::UdpOrigin);

impl UdpOrigin {
    /// Starts an origin with this habit.
    ///
    /// # Panics
    /// If the address is taken.
    #[must_use]
    pub fn start(address: SocketAddr, habit: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let mut origin = rig::origin::udp::UdpOrigin::idle(address, habit);
        origin.resume().expect("the origin's address is free");
        Self(origin)
    }

    /// One that sends everything back.
    #[must_use]
    pub fn echo(address: SocketAddr) -> Self {
        Self::start(address, |payload| vec![payload.to_vec()])
    }

    /// One that answers with its name.
    #[must_use]
    pub fn names_itself(address: SocketAddr, name: &'static str) -> Self {
        Self::start(address, move |_| vec![name.as_bytes().to_vec()])
    }
}

impl Deref for UdpOrigin {
    type Target = rig::origin::udp::UdpOrigin;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A UDP client of one address.
#[derive(Debug)]
pub struct UdpClient(udp::UdpClient);

impl UdpClient {
    /// A client on any port of loopback.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn new(at: SocketAddr) -> Self {
        Self::from(([127, 0, 0, 1], 0).into(), at)
    }

    /// A client from this address.
    ///
    /// # Panics
    /// If it is taken.
    #[must_use]
    pub fn from(source: SocketAddr, at: SocketAddr) -> Self {
        Self(udp::UdpClient::from(source, at).expect("a port of loopback is free"))
    }

    /// Sends a payload.
    pub fn send(&self, payload: &[u8]) {
        self.0.send(payload);
    }

    /// The next payload, if one comes within `limit`.
    ///
    /// # Panics
    /// If the socket breaks.
    #[must_use]
    pub fn receive(&self, limit: Duration) -> Option<Vec<u8>> {
        self.0.receive(limit).expect("the socket is there")
    }

    /// Asks, again and again as UDP clients do, until there is an answer.
    ///
    /// # Panics
    /// If there is none for long.
    #[must_use]
    pub fn ask(&self, payload: &[u8]) -> Vec<u8> {
        let asking = Asking { again: ASK_AGAIN, patience: PATIENCE, repeats: &mut 0 };
        self.0.ask(payload, asking, Some).expect("the socket is there").expect("an answer comes")
    }
}

/// What a client that asks steadily is to be answered.
#[derive(Debug, Clone, Copy)]
pub enum Right {
    /// Its own question.
    Echo,
    /// This, whatever it asks.
    Says(&'static [u8]),
}

/// A client that asks number after number at a steady pace, each again until it is answered.
#[derive(Debug)]
pub struct SteadyUdp(load::Load);

impl SteadyUdp {
    /// Starts one that sends every 10 ms.
    ///
    /// # Panics
    /// If there is no thread for it.
    #[must_use]
    pub fn start(UdpClient(client): UdpClient, right: Right) -> Self {
        let mut steady = load::Load::new(Instant::now());
        let work = move |own: &load::Client| {
            let (mut on, mut number) = (None, 0_u64);
            own.pace(STEADY_EVERY, || {
                number += 1;
                own.record(&mut on, Kind::Question, |noted| {
                    let asking = Asking { again: STEADY_EVERY, patience: FOR_LONG, repeats: &mut noted.repeats };
                    let came = client.ask(&number.to_be_bytes(), asking, |came| right.judge(number, &came))?;
                    came.unwrap_or_else(|| Err(Trouble::Failed("no answer".to_owned())))
                });
            });
        };
        steady.set(GOAL, work).expect("there are threads");
        Self(steady)
    }

    /// Time since the beginning, as samples have it.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.0.now()
    }

    /// Waits for so many more answers.
    ///
    /// # Panics
    /// If they do not come.
    pub fn wait_for(&self, more: usize) {
        let goal = self.0.done() + more;
        wait::soon_true(&format!("{more} more answers"), || self.0.done() >= goal);
    }

    /// Stops, and returns what was answered after `since`, or was not.
    ///
    /// # Panics
    /// If the client panicked.
    #[must_use]
    pub fn stop(self, since: Duration) -> Vec<Sample> {
        let mut samples = end(self.0);
        samples.retain(|sample| sample.ended > since);
        samples
    }
}

impl Right {
    /// Whether it is this question's answer; none if it was an earlier one's, which was asked again and is answered twice.
    fn judge(self, number: u64, came: &[u8]) -> Option<Result<(), Trouble>> {
        match self {
            Self::Says(says) if came == says => Some(Ok(())),
            Self::Echo if came == number.to_be_bytes() => Some(Ok(())),
            Self::Echo if came.first_chunk().is_some_and(|other| u64::from_be_bytes(*other) < number) => None,
            Self::Says(_) | Self::Echo => Some(Err(Trouble::Wrong(format!("{came:?} came for {number}")))),
        }
    }
}
