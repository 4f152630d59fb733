//! UDP sessions over the off-ramp: opened like streams, over one chosen path; payloads that come before the reply travel
//! with the open and are kept for placing again.

use std::{
    io,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes};
use net::{Towards, towards::is_unreachable};
use protocol::{
    datagram::{Arena, FRAME_HEAD, Packet},
    error::{Reason, StreamCode},
    id::{Name, Target},
    limits::{EARLY_BYTES_MAX, EARLY_PAYLOADS_MAX, NUDGE_AFTER},
    link::SendStream,
    proxy::{Ends, Header},
    session::{Event, Session, SessionEnd},
    splice::Stream,
    stream::{self, OpenUdp, Reply},
    switch::{Dropped, Drops},
    wire::{self, WireError},
};
use tokio::{sync::mpsc, time};

use super::{Failure, Offramp, Opening, REPLY_SLACK, not_opened, refused};
use crate::{
    model::{Held, Origin, ProxyVersion, Via},
    tunnel::Link,
};

/// A session to an origin.
#[derive(Debug)]
pub struct Path {
    way: Way,
    /// What the origin wants ahead of each payload.
    word: Option<(Bytes, Arena)>,
    /// How long it took to find the origin, where that was done.
    pub connect: Duration,
}

#[derive(Debug)]
enum Way {
    /// Over a link.
    Tunnel(Box<Session>, OnLink),
    /// From a socket of our own.
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
    arena: Arena,
}

impl<'a> Early<'a> {
    /// A probe's only payload.
    #[must_use]
    pub fn only(first: Packet) -> Self {
        let frame = first.into_frame();
        Self {
            queue: None,
            drops: Drops::default(),
            bytes: frame.len(),
            frames: vec![frame],
            sent: 0,
            part: 0,
            announced: Header::Local,
            word: Bytes::new(),
            arena: Arena::default(),
        }
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
            None => Bytes::new(),
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

    /// Sends what there is and takes more, for ever; ends only when the client is gone.
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

    /// What has not been sent on this stream.
    fn unsent(&mut self) -> Vec<Bytes> {
        let mut frames: Vec<Bytes> = (self.sent..self.frames.len()).filter_map(|at| self.framed(at)).collect();
        if let Some(first) = frames.first_mut() {
            first.advance(self.part);
        }
        frames
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
    ) -> Result<Path, Failure> {
        early.begin(opening.origin);
        match (opening.via, &opening.origin.vnet) {
            (Via::Link(id), Some(vnet)) => open_over(self.link(id)?, opening, (vnet, idle), early).await,
            (Via::Direct, None) => self.dial_session(opening, early).await,
            (Via::Link(_), None) | (Via::Direct, Some(_)) => Err(refused(Reason::NoRoute, "the origin has moved")),
        }
    }

    async fn dial_session(&self, opening: Opening<'_>, early: &mut Early<'_>) -> Result<Path, Failure> {
        let started = Instant::now();
        let dialled = time::timeout(opening.wait, self.dial_any_udp(opening.origin, opening.wait)).await;
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
        Ok(Path { way: Way::Direct(socket, Arena::default()), word: early.later(), connect: started.elapsed() })
    }

    async fn dial_any_udp(&self, origin: &Origin, wait: Duration) -> Result<Towards, Failure> {
        let Target { host, port } = &origin.address;
        let ips = self.addresses(host, wait).await?;
        Towards::dial(&self.network, &self.racer, ips, *port).map_err(|last| match last {
            Some((address, error)) => Failure::Refused(Reason::of_dial(&error), format!("{address}: {error}")),
            None => refused(Reason::DnsFailed, "the name has no address"),
        })
    }
}

impl Path {
    /// True while nothing speaks against the path: its link is up and does not leave.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        match &self.way {
            Way::Tunnel(_, on) => on.link.load.is_placeable(),
            Way::Direct(..) => true,
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
        match &mut self.way {
            Way::Tunnel(session, ..) => session.send(packet),
            // An error that is for good shows on the next event.
            Way::Direct(socket, _) => socket.try_send(packet.payload()).map_err(|error| {
                if error.kind() == io::ErrorKind::WouldBlock { Dropped::SocketFull } else { Dropped::NotSent }
            }),
        }
    }

    /// Waits for the next event. Dropping it loses nothing.
    pub async fn next(&mut self) -> Event {
        match &mut self.way {
            Way::Tunnel(session, ..) => session.next().await,
            Way::Direct(socket, arena) => loop {
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

    /// The next payload, if it is here already.
    pub fn try_next(&mut self) -> Option<Bytes> {
        match &mut self.way {
            Way::Tunnel(session, ..) => session.try_next(),
            // An error will be there again for `next`, or it concerned one payload.
            Way::Direct(socket, arena) => receive(socket, arena).ok(),
        }
    }

    /// Ends the session.
    pub fn finish(self) {
        match self.way {
            Way::Tunnel(session, ..) => session.finish(),
            Way::Direct(..) => {}
        }
    }
}

fn receive(socket: &mut Towards, arena: &mut Arena) -> io::Result<Bytes> {
    let mut frame = arena.fill(|buffer| socket.try_recv(buffer))?.into_frame();
    frame.advance(FRAME_HEAD);
    Ok(frame)
}

async fn open_over(
    link: Arc<Link>,
    opening: Opening<'_>,
    (vnet, idle): (&Name, Duration),
    early: &mut Early<'_>,
) -> Result<Path, Failure> {
    // Towards may overtake the reply.
    let inbox = link.switch.open();
    let header = stream::Open::Udp(OpenUdp {
        vnet: vnet.clone(),
        target: opening.origin.address.clone(),
        wait: opening.wait,
        idle,
        session: inbox.session(),
    });
    let wait = opening.wait + link.rtt() * 4 + REPLY_SLACK;
    let (mut stream, held) = link.open(&header, &[], (opening.priority, wait)).await.map_err(not_opened)?;
    match time::timeout(wait, await_reply(&link, &mut stream, early)).await {
        Ok(Ok(Reply::Connected { connect })) => {
            let session = Session::new(link.connection().clone(), stream, inbox, early.unsent());
            let word = early.later();
            Ok(Path { word, way: Way::Tunnel(Box::new(session), OnLink { link, _held: held }), connect })
        }
        Ok(Ok(Reply::Refused { reason, text })) => Err(Failure::Refused(reason, text)),
        Ok(Err(failure)) => {
            stream.cut(StreamCode::Cancelled);
            Err(failure)
        }
        Err(_) => {
            stream.cut(StreamCode::Cancelled);
            Err(Failure::Unanswered(Reason::ConnectTimeout))
        }
    }
}

async fn await_reply(link: &Link, stream: &mut Stream, early: &mut Early<'_>) -> Result<Reply, Failure> {
    let mut reply = pin!(wire::read_reply(&mut stream.recv));
    let mut quiet = pin!(time::sleep(NUDGE_AFTER.max(link.rtt() * 4)));
    let mut may_nudge = true;
    loop {
        tokio::select! {
            biased;
            reply = &mut reply => return reply.map_err(|e| match e {
                WireError::Lost(_) => Failure::Unanswered(Reason::LinkLost),
                WireError::Cut(_)
                | WireError::Ended
                | WireError::Decode(_)
                | WireError::OutOfOrder(_)
                | WireError::Deaf => {
                    Failure::Unanswered(Reason::ConnectionReset)
                }
            }),
            failure = early.pump(&mut stream.send) => return Err(failure),
            // Payloads may come twice, as with UDP itself: there is no harm in going elsewhere.
            () = link.suspected() => return Err(Failure::Unanswered(Reason::LinkLost)),
            () = &mut quiet, if may_nudge => {
                may_nudge = false;
                link.nudge();
            }
        }
    }
}
