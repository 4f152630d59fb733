//! UDP sessions over the off-ramp: opened like streams, over one chosen path; payloads that come before the reply travel
//! with the open and are kept for placing again.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use net::{Network, Towards, towards::is_unreachable};
use protocol::{
    datagram::{Arena, FRAME_HEAD, Packet},
    error::{Reason, StreamCode},
    id::Target,
    limits::{EARLY_BYTES_MAX, EARLY_PAYLOADS_MAX},
    link::SendStream,
    proxy::{Ends, Header},
    session::{self, Event, SessionEnd},
    stream::{self, OpenUdp, Stages},
    switch::{Dropped, Drops},
};
use tokio::{sync::mpsc, time};

use super::{
    Failure, Offramp, Opening, Over, refused,
    reply::{Accepted, Along, open_over},
};
use crate::{
    model::{Held, Origin, ProxyVersion},
    tunnel::Link,
};

/// A session to an origin.
#[derive(Debug)]
pub struct Session {
    carrier: Carrier,
    /// What the origin wants ahead of each payload.
    word: Option<(Bytes, Arena)>,
    /// What each answer has to begin with, and is taken off.
    answered_with: Bytes,
    /// How long it took to find the origin, where that was done.
    pub connect: Duration,
    /// How long each stage of that took at the connector, if it says so.
    pub stages: Option<Stages>,
}

/// What its payloads go over.
#[derive(Debug)]
enum Carrier {
    /// A link.
    Tunnel(Box<session::Session>, OnLink),
    /// A socket of our own.
    Direct(Towards, Arena),
}

/// A link, on which the session counts as open.
#[derive(Debug)]
struct OnLink {
    link: Arc<Link>,
    _held: Held,
}

/// The client's payloads before the reply, in order: sent at once, kept for placing again.
#[derive(Debug)]
pub struct Early<'a> {
    queue: Option<&'a mut mpsc::Receiver<Packet>>,
    drops: Drops,
    frames: Vec<Bytes>,
    bytes: usize,
    sent: usize,
    /// Bytes of the next frame that have been sent.
    part: usize,
    /// Whom an origin is told of, if it wants to know.
    announced: Header,
    /// What this origin wants ahead of each payload.
    word: Bytes,
    /// What it says itself ahead of each answer.
    answered_with: Bytes,
    arena: Arena,
}

impl<'a> Early<'a> {
    /// Nothing: only the way there is looked for.
    #[must_use]
    pub fn none() -> Self {
        Self {
            queue: None,
            drops: Drops::default(),
            bytes: 0,
            frames: Vec::new(),
            sent: 0,
            part: 0,
            announced: Header::Local,
            word: Bytes::new(),
            answered_with: Bytes::new(),
            arena: Arena::default(),
        }
    }

    /// A probe's only payload.
    #[must_use]
    pub fn only(first: Packet) -> Self {
        let frame = first.into_frame();
        Self { bytes: frame.len(), frames: vec![frame], ..Self::none() }
    }

    /// A client's first payload, and those that follow in the queue; what is too much is dropped and counted.
    #[must_use]
    pub fn of(first: Packet, queue: &'a mut mpsc::Receiver<Packet>, drops: Drops) -> Self {
        Self { queue: Some(queue), drops, ..Self::only(first) }
    }

    /// Origins that want to know are told of this client.
    #[must_use]
    pub fn announcing(self, ends: Ends) -> Self {
        Self { announced: Header::Client(ends), ..self }
    }

    /// Begins anew for this origin.
    fn begin(&mut self, origin: &Origin) {
        (self.sent, self.part) = (0, 0);
        self.word = match origin.proxy_protocol {
            Some(ProxyVersion::V2) => self.announced.encode_datagram(),
            Some(ProxyVersion::Simple) => self.announced.encode_simple(),
            // A pool that wants it serves no such listener.
            Some(ProxyVersion::V1) | None => Bytes::new(),
        };
        self.answered_with = match origin.proxy_protocol {
            Some(ProxyVersion::Simple) => self.word.clone(),
            Some(ProxyVersion::V1 | ProxyVersion::V2) | None => Bytes::new(),
        };
    }

    /// What goes ahead of the payloads that come later.
    fn later(&self) -> Option<(Bytes, Arena)> {
        (!self.word.is_empty()).then(|| (self.word.clone(), Arena::default()))
    }

    /// A payload as this origin wants it, on its way to a stream. One that is too long with the word ahead of it goes as
    /// nothing, and is counted.
    fn framed(&mut self, at: usize) -> Option<Bytes> {
        let frame = self.frames.get(at)?;
        if self.word.is_empty() {
            return Some(frame.clone());
        }
        let packet = self.arena.join(&self.word, &frame[FRAME_HEAD..]);
        if packet.is_none() {
            self.drops.count(Dropped::NotSent);
        }
        Some(packet.map_or_else(Bytes::new, Packet::into_frame))
    }

    /// Everything that waits, as the client sent it.
    pub fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        self.frames.iter().map(|frame| &frame[FRAME_HEAD..])
    }

    fn keep(&mut self, packet: Packet) {
        let frame = packet.into_frame();
        if self.frames.len() >= EARLY_PAYLOADS_MAX || self.bytes + frame.len() > EARLY_BYTES_MAX {
            return self.drops.count(Dropped::NotReady);
        }
        self.bytes += frame.len();
        self.frames.push(frame);
    }

    /// Takes what has come; waits for more; ends only when there is nobody to send any.
    pub async fn gather(&mut self) {
        loop {
            let Some(queue) = &mut self.queue else { return std::future::pending().await };
            match queue.recv().await {
                Some(packet) => self.keep(packet),
                None => return,
            }
        }
    }

    /// What has not been sent on this stream.
    fn unsent(&mut self) -> Vec<Bytes> {
        let mut frames: Vec<Bytes> = (self.sent..self.frames.len()).filter_map(|at| self.framed(at)).collect();
        if let Some(first) = frames.first_mut() {
            first.advance(self.part);
        }
        frames
    }
}

impl Along for Early<'_> {
    async fn pump(&mut self, send: &mut SendStream) -> Failure {
        loop {
            while let Some(frame) = self.framed(self.sent) {
                if frame.is_empty() {
                    self.sent += 1;
                    continue;
                }
                match send.write(&frame[self.part..]).await {
                    Ok(taken) if self.part + taken == frame.len() => (self.sent, self.part) = (self.sent + 1, 0),
                    Ok(taken) => self.part += taken,
                    // The reply says why.
                    Err(_) => return std::future::pending().await,
                }
            }
            let Some(queue) = &mut self.queue else { return std::future::pending().await };
            match queue.recv().await {
                Some(packet) => self.keep(packet),
                None => return Failure::ClientGone,
            }
        }
    }

    /// Payloads may come twice, as with UDP itself.
    fn may_be_placed_again(&self) -> bool {
        true
    }
}

impl Offramp {
    /// Opens a UDP session to an origin; the early payloads are sent along. `idle`: after such a silence the caller ends it.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn open_session(
        &self,
        opening: Opening<'_>,
        idle: Duration,
        early: &mut Early<'_>,
    ) -> Result<Session, Failure> {
        early.begin(opening.origin);
        let (link, vnet) = match opening.over()? {
            Over::Network(network) => return self.dial_session(network, opening, early).await,
            Over::Link(link, vnet) => (link, vnet.clone()),
        };
        // Datagrams may overtake the reply.
        let inbox = link.switch.open();
        let (target, wait, session) = (opening.origin.address.clone(), opening.wait, inbox.session());
        let header = stream::Open::Udp(OpenUdp { vnet, target, wait, idle, session, flow: link.told(opening.flow) });
        let Accepted { stream, held, connect, stages } = open_over(link, opening, &header, early).await?;
        let session = session::Session::new(link.connection().clone(), stream, inbox, early.unsent());
        let on = OnLink { link: link.clone(), _held: held };
        let (word, answered_with) = (early.later(), early.answered_with.clone());
        Ok(Session { word, answered_with, carrier: Carrier::Tunnel(Box::new(session), on), connect, stages })
    }

    async fn dial_session(
        &self,
        network: &Arc<dyn Network>,
        opening: Opening<'_>,
        early: &mut Early<'_>,
    ) -> Result<Session, Failure> {
        let started = Instant::now();
        let dialled = time::timeout(opening.wait, self.dial_any_udp(network, opening)).await;
        let mut socket = dialled.unwrap_or_else(|_| Err(refused(Reason::DnsFailed, "no answer in time")))?;
        let mut framed = early.unsent().into_iter();
        let Early { frames, drops, .. } = &mut *early;
        frames.retain(|_| {
            // What is too long was counted.
            let Some(frame) = framed.next().filter(|frame| !frame.is_empty()) else { return false };
            let taken = socket.try_send(&frame[FRAME_HEAD..]).is_ok();
            if !taken {
                drops.count(Dropped::SocketFull);
            }
            taken
        });
        early.sent = early.frames.len();
        Ok(Session {
            carrier: Carrier::Direct(socket, Arena::default()),
            word: early.later(),
            answered_with: early.answered_with.clone(),
            connect: started.elapsed(),
            stages: None,
        })
    }

    async fn dial_any_udp(&self, network: &Arc<dyn Network>, opening: Opening<'_>) -> Result<Towards, Failure> {
        let Target { host, port } = &opening.origin.address;
        let ips = self.addresses(host, opening.wait).await?;
        Towards::dial(network, &self.racer, ips, *port).map_err(|last| match last {
            Some((address, error)) => Failure::Refused(Reason::of_dial(&error), format!("{address}: {error}")),
            None => refused(Reason::DnsFailed, "the name has no address"),
        })
    }
}

impl Session {
    /// True while nothing speaks against its path: the link is up and does not leave.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        match &self.carrier {
            Carrier::Tunnel(_, on) => on.link.load.is_placeable(),
            Carrier::Direct(..) => true,
        }
    }

    /// Sends a payload.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn send(&mut self, mut packet: Packet) -> Result<(), Dropped> {
        if let Some((word, arena)) = &mut self.word {
            packet = arena.join(word, packet.payload()).ok_or(Dropped::NotSent)?;
        }
        match &mut self.carrier {
            Carrier::Tunnel(session, ..) => session.send(packet),
            // An error that is for good shows on the next event.
            Carrier::Direct(socket, _) => socket.try_send(packet.payload()).map_err(|error| {
                if error.kind() == io::ErrorKind::WouldBlock { Dropped::SocketFull } else { Dropped::NotSent }
            }),
        }
    }

    /// Waits for the next event. Dropping it loses nothing.
    pub async fn next(&mut self) -> Event {
        loop {
            match self.next_raw().await {
                Event::Payload(payload) => {
                    if let Some(payload) = self.bare(payload) {
                        return Event::Payload(payload);
                    }
                }
                ended @ Event::Ended(_) => return ended,
            }
        }
    }

    /// The next payload, if it is here already.
    pub fn try_next(&mut self) -> Option<Bytes> {
        loop {
            let payload = self.try_next_raw()?;
            if let Some(payload) = self.bare(payload) {
                return Some(payload);
            }
        }
    }

    /// An answer without what it has to begin with; none if it does not, and so is for nobody here.
    fn bare(&self, mut payload: Bytes) -> Option<Bytes> {
        payload.starts_with(&self.answered_with).then(|| {
            payload.advance(self.answered_with.len());
            payload
        })
    }

    async fn next_raw(&mut self) -> Event {
        match &mut self.carrier {
            Carrier::Tunnel(session, ..) => session.next().await,
            Carrier::Direct(socket, arena) => loop {
                let ready = socket.readable().await;
                match ready.and_then(|()| receive(socket, arena)) {
                    Ok(payload) => return Event::Payload(payload),
                    Err(error) if is_unreachable(&error) => {
                        return Event::Ended(SessionEnd::Cut(StreamCode::Unreachable));
                    }
                    Err(_) => {}
                }
            },
        }
    }

    fn try_next_raw(&mut self) -> Option<Bytes> {
        match &mut self.carrier {
            Carrier::Tunnel(session, ..) => session.try_next(),
            // An error will be there again for `next`, or it concerned one payload.
            Carrier::Direct(socket, arena) => receive(socket, arena).ok(),
        }
    }

    /// Ends the session.
    pub fn finish(self) {
        match self.carrier {
            Carrier::Tunnel(session, ..) => session.finish(),
            Carrier::Direct(..) => {}
        }
    }
}

fn receive(socket: &mut Towards, arena: &mut Arena) -> io::Result<Bytes> {
    let mut frame = arena.fill(|buffer| socket.try_recv(buffer))?.into_frame();
    frame.advance(FRAME_HEAD);
    Ok(frame)
}
