//! A UDP socket towards a name: of several addresses one that is there.
//!
//! UDP has no handshake, so an address counts until its host or network says that nobody is there. Until the first answer, what was
//! sent is kept for the next address.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::BufMut;
use tokio::time::Instant;
use tracing::debug;

use crate::{Datagrams, Network, Racer};

/// An address that has said nothing for so long is begun last for a while.
const SILENT_AFTER: Duration = Duration::from_secs(1);
/// What is kept for the next address; beyond, it is lost with the one it was sent to.
const KEPT_PAYLOADS_MAX: usize = 64;
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// A socket towards the first of several addresses of which nobody says that it is not there.
#[derive(Debug)]
pub struct Towards {
    socket: Datagrams,
    search: Option<Search>,
}

/// Nobody has answered yet, and there are other addresses.
#[derive(Debug)]
struct Search {
    network: Arc<dyn Network>,
    racer: Racer,
    address: SocketAddr,
    next: VecDeque<SocketAddr>,
    kept: Vec<Box<[u8]>>,
    bytes: usize,
    /// When the address was first sent something.
    since: Option<Instant>,
}

impl Towards {
    /// A socket towards these addresses, of which those that were silent lately come last.
    ///
    /// # Errors
    /// The address that there was no way to last, and why; none if there is no address.
    pub fn dial(
        network: &Arc<dyn Network>,
        racer: &Racer,
        ips: Vec<IpAddr>,
        port: u16,
    ) -> Result<Self, Option<(SocketAddr, io::Error)>> {
        let mut next: VecDeque<_> = racer.in_order(ips).into_iter().map(|ip| SocketAddr::new(ip, port)).collect();
        let is_alone = next.len() == 1;
        let (address, socket) = first(network, &mut next)?;
        let (network, racer, kept) = (network.clone(), racer.clone(), Vec::new());
        let search = Search { network, racer, address, next, kept, bytes: 0, since: None };
        Ok(Self { socket, search: (!is_alone).then_some(search) })
    }

    /// Waits until a read may bring a payload. Dropping it loses nothing.
    ///
    /// # Errors
    /// As [`Datagrams::readable`], when no address is left.
    pub async fn readable(&mut self) -> io::Result<()> {
        while let Err(heard) = self.socket.readable().await {
            self.leave(heard)?;
        }
        Ok(())
    }

    /// Reads one payload into the spare room of `buffer`; what does not fit is cut off.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; else as [`Towards::readable`].
    pub fn try_recv(&mut self, buffer: &mut impl BufMut) -> io::Result<usize> {
        loop {
            match self.socket.try_recv(buffer) {
                Ok(length) => {
                    if let Some(found) = self.search.take() {
                        found.racer.answered(found.address.ip());
                    }
                    return Ok(length);
                }
                Err(heard) => self.leave(heard)?,
            }
        }
    }

    /// Sends one payload.
    ///
    /// # Errors
    /// `WouldBlock` if the kernel takes none now; else as [`Towards::readable`], and then this payload was not sent.
    pub fn try_send(&mut self, payload: &[u8]) -> io::Result<()> {
        while let Err(heard) = self.socket.try_send(payload) {
            self.leave(heard)?;
        }
        if let Some(search) = &mut self.search {
            search.keep(payload);
        }
        Ok(())
    }

    /// On to the next address, if what was heard says that nobody is at this one; what it was sent goes to the next.
    fn leave(&mut self, heard: io::Error) -> io::Result<()> {
        let Some(search) = self.search.as_mut().filter(|_| is_unreachable(&heard)) else { return Err(heard) };
        search.racer.unanswered(search.address.ip());
        let Ok((address, socket)) = first(&search.network, &mut search.next) else { return Err(heard) };
        debug!(left = %search.address, %address, %heard, "nobody is there: on to the next address");
        for payload in &search.kept {
            // What it should not take is lost, as with UDP itself.
            let _ = socket.try_send(payload);
        }
        (search.address, search.since) = (address, Some(Instant::now()));
        self.socket = socket;
        Ok(())
    }
}

impl Search {
    fn keep(&mut self, payload: &[u8]) {
        let _ = self.since.get_or_insert_with(Instant::now);
        self.note_silence();
        if self.kept.len() < KEPT_PAYLOADS_MAX && self.bytes + payload.len() <= KEPT_BYTES_MAX {
            self.bytes += payload.len();
            self.kept.push(payload.into());
        }
    }

    fn note_silence(&self) {
        if self.since.is_some_and(|since| since.elapsed() >= SILENT_AFTER) {
            self.racer.unanswered(self.address.ip());
        }
    }
}

impl Drop for Search {
    /// Nobody has answered to the end.
    fn drop(&mut self) {
        self.note_silence();
    }
}

/// A socket towards the first address that there is a way to; those before it are off the list.
fn first(
    network: &Arc<dyn Network>,
    addresses: &mut VecDeque<SocketAddr>,
) -> Result<(SocketAddr, Datagrams), Option<(SocketAddr, io::Error)>> {
    let mut last = None;
    while let Some(address) = addresses.pop_front() {
        match network.dial_udp(address) {
            Ok(socket) => return Ok((address, socket)),
            Err(error) => last = Some((address, error)),
        }
    }
    Err(last)
}

/// What an ICMP message has told the kernel: nobody is there.
#[must_use]
pub fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, Front, Os};

    /// Addresses of loopback with one port in common: on the last of them somebody listens.
    fn stand(last: u8) -> (Arc<dyn Network>, Front, SocketAddr) {
        let network: Arc<dyn Network> = Arc::new(Os);
        let front = network.bind_udp(([127, 0, 61, last], 0).into()).expect("a port of loopback");
        let at = front.local_addr().expect("bound");
        (network, front, at)
    }

    fn ip(last: u8) -> IpAddr {
        [127, 0, 61, last].into()
    }

    async fn hear(front: &Front, batch: &mut Batch) -> Vec<Vec<u8>> {
        front.receive(batch).await.expect("something comes");
        batch.payloads().map(|(_, payload)| payload.to_vec()).collect()
    }

    #[tokio::test]
    async fn what_was_sent_where_nobody_is_goes_to_the_next_and_the_one_is_remembered() {
        let (network, front, at) = stand(3);
        let racer = Racer::default();
        let mut towards = Towards::dial(&network, &racer, vec![ip(1), ip(2), ip(3)], at.port()).expect("loopback");
        towards.try_send(b"one").expect("room");
        let mut batch = Batch::default();
        let heard = tokio::select! {
            heard = hear(&front, &mut batch) => heard,
            ready = towards.readable() => panic!("nobody has answered: {ready:?}"),
        };
        assert_eq!(heard, [b"one"]);
        assert_eq!(racer.in_order(vec![ip(1), ip(2), ip(3)]), [ip(3), ip(1), ip(2)]);

        towards.try_send(b"two").expect("room");
        assert_eq!(hear(&front, &mut batch).await, [b"two"], "and only that");
        let (peer, _) = batch.payloads().next().expect("it was heard");
        front.try_send(peer, b"answer").expect("room");
        towards.readable().await.expect("it comes");
        let mut answer = Vec::with_capacity(64);
        assert_eq!(towards.try_recv(&mut answer).ok(), Some(6));
        assert!(towards.search.is_none(), "nothing is kept any more");
        drop(front);
        towards.try_send(b"three").expect("room");
        let nothing = towards.try_recv(&mut answer).expect_err("that was all, unless the word is here already");
        let heard = if is_unreachable(&nothing) { Err(nothing) } else { towards.readable().await };
        assert!(is_unreachable(&heard.expect_err("who has answered is not left for another")));
    }

    #[tokio::test]
    async fn where_nobody_is_anywhere_that_is_told() {
        let (network, front, at) = stand(5);
        drop(front);
        for ips in [vec![ip(5)], vec![ip(5), ip(6)]] {
            let mut towards = Towards::dial(&network, &Racer::default(), ips, at.port()).expect("loopback");
            towards.try_send(b"anyone?").expect("room");
            let heard = towards.readable().await.expect_err("nobody is there");
            assert!(is_unreachable(&heard), "{heard}");
        }
        let none = Towards::dial(&network, &Racer::default(), Vec::new(), at.port());
        assert!(matches!(none, Err(None)), "{none:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_is_silent_comes_last_for_the_next() {
        let (network, _front, at) = stand(7);
        let racer = Racer::default();
        let order = || racer.in_order(vec![ip(7), ip(8)]);
        let dial = || Towards::dial(&network, &racer, vec![ip(7), ip(8)], at.port()).expect("loopback");
        let mut towards = dial();
        towards.try_send(b"one").expect("room");
        drop(towards);
        assert_eq!(order(), [ip(7), ip(8)], "it had no time to answer");
        let mut towards = dial();
        towards.try_send(b"one").expect("room");
        tokio::time::advance(SILENT_AFTER).await;
        towards.try_send(b"anyone?").expect("room");
        assert_eq!(order(), [ip(8), ip(7)]);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let (network, _front, at) = stand(9);
        let mut towards = Towards::dial(&network, &Racer::default(), vec![ip(9), ip(10)], at.port()).expect("loopback");
        for _ in 0..40 {
            let _ = towards.try_send(&[7; 1_000]);
        }
        assert_eq!(towards.search.as_ref().map(|search| search.bytes), Some(16_000));
        for _ in 0..100 {
            let _ = towards.try_send(b"");
        }
        assert_eq!(towards.search.as_ref().map(|search| search.kept.len()), Some(KEPT_PAYLOADS_MAX));
    }
}
