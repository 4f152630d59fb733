//! One UDP session: permit, connect, reply, carry payloads both ways until nobody needs it.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    time::{Duration, Instant},
};

use net::{Towards, towards::is_unreachable};
use protocol::{
    datagram::Arena,
    error::{Reason, StreamCode},
    session::{Event, Session, SessionEnd},
    splice::{Carried, Ended, Stream},
    stream::{OpenUdp, Reply, Stages},
    switch::{Dropped, Inbox},
};
use tokio::time;
use tracing::{debug, field};

use super::{
    LinkSide, Permit, Service, millis,
    tcp::{Permitted, Refused, permitted, refuse},
};

/// The edge ends a session that nobody uses; should its word be lost, the session ends here this much later.
const IDLE_MARGIN: Duration = Duration::from_secs(5);
/// Payloads taken from one side before the other has its turn.
const BATCH: usize = 64;

pub(super) async fn serve(service: &Service, open: OpenUdp, mut stream: Stream, link: &LinkSide) {
    let started = Instant::now();
    let Some(inbox) = link.switch.admit(open.session) else { return stream.cut(StreamCode::BadHeader) };
    let late = || Refused { reason: Reason::ConnectTimeout, text: format!("{} was not found in time", open.target) };
    let dialled = tokio::select! {
        dialled = time::timeout(open.wait, dial(service, &open)) => dialled.unwrap_or_else(|_| Err(late())),
        _ = stream.send.stopped() => return stream.cut(StreamCode::Cancelled),
    };
    let (socket, permit, stages) = match dialled {
        Ok(dialled) => dialled,
        Err(refused) => return refuse(service, (open.flow, &open.vnet, &open.target), stream, refused).await,
    };
    if stream.send.write_chunk(Reply::accepted(open.flow, stages).encode()).await.is_err() {
        return;
    }
    let _flow = service.metrics.flow();
    let carrying = Carrying::new(service, socket, &open, (stream, inbox, link));
    let Over { ended, sent, received, missing } = carrying.run(&permit).await;
    let ended = match ended {
        Some(ended) => service.metrics.carried(&Carried { sent, received, ended }),
        None => service.metrics.withdrawn(sent, received),
    };
    debug!(
        flow = open.flow.map(field::display), vnet = %open.vnet, target = %open.target, from_origin = sent, to_origin = received, missing, ended,
        ms = millis(started.elapsed()), "session ended"
    );
}

/// Permits and connects; of several permitted addresses the first that there is a way to.
async fn dial(service: &Service, open: &OpenUdp) -> Result<(Towards, Permit, Stages), Refused> {
    let Permitted { addresses, stages } = permitted(service, (&open.vnet, &open.target), open.wait).await?;
    let dialling = Instant::now();
    // A map changes addresses, never ports.
    let ips = addresses.iter().map(SocketAddr::ip).collect();
    let dialled = Towards::dial(&service.network, &service.racer, ips, open.target.port).map_err(|last| match last {
        Some((address, error)) => Refused { reason: Reason::of_dial(&error), text: format!("{address}: {error}") },
        None => Refused { reason: Reason::DnsFailed, text: format!("{} has no address", open.target) },
    });
    let stages = Stages { dial: dialling.elapsed(), ..stages };
    Ok((dialled?, Permit::of(&open.vnet, &open.target, addresses), stages))
}

/// A session under way.
struct Carrying<'a> {
    service: &'a Service,
    socket: Towards,
    session: Session,
    arena: Arena,
    idle: Duration,
    sent: u64,
    received: u64,
}

/// The origin's host or network says that nobody is there.
struct Unreachable;

/// A session that is over; `ended` is absent where it was not permitted any more.
struct Over {
    ended: Option<Ended>,
    sent: u64,
    received: u64,
    missing: u64,
}

impl<'a> Carrying<'a> {
    fn new(
        service: &'a Service,
        socket: Towards,
        open: &OpenUdp,
        (stream, inbox, link): (Stream, Inbox, &LinkSide),
    ) -> Self {
        let session = Session::new(link.connection.clone(), stream, inbox, []);
        let idle = open.idle + IDLE_MARGIN;
        Self { service, socket, session, arena: Arena::default(), idle, sent: 0, received: 0 }
    }

    async fn run(mut self, permit: &Permit) -> Over {
        let service = self.service;
        let ended = tokio::select! {
            ended = self.carry() => Some(ended),
            () = service.rulings.withdrawn(permit) => None,
        };
        let Self { session, sent, received, .. } = self;
        let missing = session.missing();
        let ended = match ended {
            Some(Ok(ended)) => {
                session.finish();
                Some(ended)
            }
            Some(Err(Unreachable)) => {
                session.cut(StreamCode::Unreachable);
                Some(Ended::LocalReset)
            }
            None => {
                session.finish();
                None
            }
        };
        Over { ended, sent, received, missing }
    }

    async fn carry(&mut self) -> Result<Ended, Unreachable> {
        let mut used = time::Instant::now();
        let mut idle = pin!(time::sleep_until(used + self.idle));
        loop {
            let Self { socket, session, .. } = self;
            tokio::select! {
                event = session.next() => match event {
                    Event::Payload(payload) => {
                        self.deliver(&payload)?;
                        for _ in 1..BATCH {
                            let Some(payload) = self.session.try_next() else { break };
                            self.deliver(&payload)?;
                        }
                    }
                    Event::Ended(SessionEnd::Finished) => return Ok(Ended::Finished),
                    Event::Ended(SessionEnd::Cut(_)) => return Ok(Ended::RemoteReset),
                    Event::Ended(SessionEnd::LinkLost) => return Ok(Ended::LinkLost),
                },
                ready = socket.readable() => {
                    if ready.is_err_and(|error| is_unreachable(&error)) {
                        return Err(Unreachable);
                    }
                    self.collect()?;
                }
                () = &mut idle => {
                    if used + self.idle <= time::Instant::now() {
                        return Ok(Ended::Idle);
                    }
                    idle.as_mut().reset(used + self.idle);
                    continue;
                }
            }
            used = time::Instant::now();
        }
    }

    /// To the origin.
    fn deliver(&mut self, payload: &[u8]) -> Result<(), Unreachable> {
        match self.socket.try_send(payload) {
            Ok(()) => self.received += payload.len() as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.service.metrics.drops().count(Dropped::SocketFull);
            }
            Err(error) if is_unreachable(&error) => return Err(Unreachable),
            Err(_) => self.service.metrics.drops().count(Dropped::NotSent),
        }
        Ok(())
    }

    /// From the origin.
    fn collect(&mut self) -> Result<(), Unreachable> {
        for _ in 0..BATCH {
            let Self { arena, socket, .. } = self;
            match arena.fill(|buffer| socket.try_recv(buffer)) {
                Ok(packet) => {
                    let length = packet.payload().len() as u64;
                    match self.session.send(packet) {
                        Ok(()) => self.sent += length,
                        Err(why) => self.service.metrics.drops().count(why),
                    }
                }
                Err(error) if is_unreachable(&error) => return Err(Unreachable),
                // Nothing more for now; any other error concerned one payload.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}
