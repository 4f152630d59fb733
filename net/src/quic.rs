//! The UDP socket of the operating system that QUIC runs over. Beside packets it hears what hosts say of those that were
//! sent to a port where nobody listens.
//!
//! The kernel keeps such words (ICMP) in a queue of the socket's own, with the address that the lost packet was sent to. It
//! also tells them, as an error, to whoever uses the socket next, which says nothing about what that one is doing.

use std::{
    fmt,
    io::{self, IoSliceMut},
    net::SocketAddr,
    os::fd::AsRawFd,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use nix::{
    cmsg_space,
    errno::Errno,
    libc::{ECONNREFUSED, SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6, sock_extended_err},
    sys::socket::{
        ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
        sockopt::{Ipv4RecvErr, Ipv6RecvErr},
    },
};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit, UdpSocketState},
};
use tokio::{io::Interest, net::UdpSocket};

use crate::Unreachables;

/// Words taken from the queue in one go; what is left is taken after a turn for packets.
const WORDS_MAX: usize = 256;
/// Times that a packet is offered to a kernel which tells of others instead of taking it. Words come one by one.
const OFFERS: usize = 3;

/// A future that is kept until it is done.
type Waiting<T> = Pin<Box<dyn Future<Output = T> + Send + Sync>>;

/// QUIC's socket. Whoever receives from it also hears the words.
pub(crate) struct QuicSocket {
    shared: Arc<Shared>,
    words: Mutex<Waiting<io::Result<()>>>,
    heard: Unreachables,
}

#[derive(Debug)]
struct Shared {
    io: UdpSocket,
    state: UdpSocketState,
}

impl QuicSocket {
    /// Takes a bound socket. Words are noted in `heard`; a kernel that keeps none costs nothing but them.
    pub(crate) fn new(socket: std::net::UdpSocket, heard: Unreachables) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        // A socket of IPv6 may carry IPv4 too.
        let _ = setsockopt(&socket, Ipv4RecvErr, &true);
        if socket.local_addr()?.is_ipv6() {
            let _ = setsockopt(&socket, Ipv6RecvErr, &true);
        }
        let shared = Arc::new(Shared { io: UdpSocket::from_std(socket)?, state });
        let words = Mutex::new(shared.clone().words_wait());
        Ok(Self { shared, words, heard })
    }

    /// Hears what there is to hear, or has the task woken when there is something.
    fn poll_words(&self, cx: &mut Context<'_>) {
        let mut waiting = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        let Poll::Ready(there) = waiting.as_mut().poll(cx) else { return };
        *waiting = match there {
            Ok(()) => {
                self.shared.take_words(&self.heard);
                // It waits again, or goes on, with the next turn.
                cx.waker().wake_by_ref();
                self.shared.clone().words_wait()
            }
            // The runtime ends.
            Err(_) => Box::pin(std::future::pending()),
        };
    }
}

impl Shared {
    fn words_wait(self: Arc<Self>) -> Waiting<io::Result<()>> {
        Box::pin(async move { self.io.ready(Interest::ERROR).await.map(drop) })
    }

    fn take_words(&self, heard: &Unreachables) {
        let _ = self.io.try_io(Interest::ERROR, || {
            for _ in 0..WORDS_MAX {
                match next_word(&self.io) {
                    Ok(Some(address)) => heard.note(address),
                    Ok(None) | Err(Errno::EINTR) => {}
                    // The queue is empty.
                    Err(_) => return Err(io::ErrorKind::WouldBlock.into()),
                }
            }
            Ok(())
        });
    }
}

/// The next word of the queue: where a packet was sent to whose host says that nobody listens there; none if it says
/// something else.
fn next_word(socket: &UdpSocket) -> nix::Result<Option<SocketAddr>> {
    // Beside the word itself the kernel hands over what it also does with packets.
    let mut room = cmsg_space!([u64; 32]);
    let mut quoted = [0];
    let mut quoted = [IoSliceMut::new(&mut quoted)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let word = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut quoted, Some(&mut room), flags)?;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel hands over much that is nothing to us")]
    let says_so = word.cmsgs()?.any(|message| match message {
        ControlMessageOwned::Ipv4RecvErr(error, _) | ControlMessageOwned::Ipv6RecvErr(error, _) => is_refusal(&error),
        _ => false,
    });
    let sent_to = word.address.filter(|_| says_so);
    Ok(sent_to.and_then(|to| {
        let v4 = to.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
        v4.or_else(|| to.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
    }))
}

/// ICMP port unreachable (RFC 792, RFC 4443 section 3.1). That a host or a network is unreachable may pass.
fn is_refusal(error: &sock_extended_err) -> bool {
    [SO_EE_ORIGIN_ICMP, SO_EE_ORIGIN_ICMP6].contains(&error.ee_origin)
        && i32::try_from(error.ee_errno).is_ok_and(|number| number == ECONNREFUSED)
}

impl AsyncUdpSocket for QuicSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Writable { shared: self.shared.clone(), waiting: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let Shared { io, state } = &*self.shared;
        io.try_io(Interest::WRITABLE, || {
            for _ in 1..OFFERS {
                match state.try_send(io.into(), transmit) {
                    Ok(()) => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                    // Most likely the word of an earlier packet: then this one has not been looked at.
                    Err(_) => {}
                }
            }
            // What is wrong with this one is told in the log, and counts as lost on the way.
            state.send(io.into(), transmit)
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.poll_words(cx);
        let Shared { io, state } = &*self.shared;
        loop {
            ready!(io.poll_recv_ready(cx))?;
            // Any other error than that nothing is there is the word of an earlier packet.
            if let Ok(count) = io.try_io(Interest::READABLE, || state.recv(io.into(), buffers, meta)) {
                return Poll::Ready(Ok(count));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.io.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.shared.state.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.shared.state.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        self.shared.state.may_fragment()
    }
}

impl fmt::Debug for QuicSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuicSocket({:?})", self.shared.io)
    }
}

/// Waits for room to send, for one connection of many.
struct Writable {
    shared: Arc<Shared>,
    waiting: Option<Waiting<io::Result<()>>>,
}

impl UdpPoller for Writable {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { shared, waiting } = &mut *self;
        let shared = shared.clone();
        let future = waiting.get_or_insert_with(|| Box::pin(async move { shared.io.writable().await }));
        let there = ready!(future.as_mut().poll(cx));
        *waiting = None;
        Poll::Ready(there)
    }
}

impl fmt::Debug for Writable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writable")
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, net::UdpSocket, time::Duration};

    use tokio::time;

    use super::*;

    fn send(socket: &QuicSocket, to: SocketAddr, contents: &[u8]) {
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size: None, src_ip: None };
        socket.try_send(&transmit).expect("room");
    }

    async fn receive(socket: &QuicSocket) -> usize {
        let (mut buffer, mut meta) = ([0; 64], [RecvMeta::default()]);
        let received = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta)).await;
        assert_eq!(received.expect("a socket"), 1);
        meta[0].len
    }

    /// Whoever sends to a port that was closed hears so, and everybody else is served as before.
    async fn hears(bound: &str, host: &str) {
        let heard = Unreachables::default();
        let bound = UdpSocket::bind(bound).expect("a port");
        let socket = QuicSocket::new(bound, heard.clone()).expect("a socket");
        socket.shared.io.writable().await.expect("a runtime");
        let [gone, there] = [0; 2].map(|_| UdpSocket::bind((host, 0)).expect("a port of loopback"));
        let [gone_at, there_at] = [&gone, &there].map(|socket| socket.local_addr().expect("bound"));
        let (watch, other) = (heard.watch(gone_at), heard.watch(there_at));
        drop(gone);
        for round in 0..20 {
            send(&socket, gone_at, b"is anybody there?");
            send(&socket, there_at, &[round]);
            let mut got = [0; 8];
            assert_eq!(there.recv(&mut got).expect("it comes"), 1, "round {round}");
            let answer_to = socket.local_addr().expect("bound").port();
            there.send_to(b"here", (host, answer_to)).expect("room");
            assert_eq!(receive(&socket).await, 4);
        }
        let all = async {
            while watch.count() < 20 {
                let mut buffer = [0; 64];
                let mut meta = [RecvMeta::default()];
                let nothing = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
                let _ = time::timeout(Duration::from_millis(20), nothing).await;
            }
        };
        time::timeout(Duration::from_secs(10), all).await.expect("every word is heard");
        assert_eq!(other.count(), 0);
    }

    #[tokio::test]
    async fn a_closed_port_is_heard_of_and_costs_no_other_packet() {
        hears("127.0.0.1:0", "127.0.0.1").await;
    }

    #[tokio::test]
    async fn a_closed_port_is_heard_of_over_ipv6() {
        hears("[::1]:0", "::1").await;
    }

    #[tokio::test]
    async fn a_closed_port_of_ipv4_is_heard_of_by_a_socket_for_both() {
        let bound = UdpSocket::bind("[::]:0").expect("a port");
        let heard = Unreachables::default();
        let socket = QuicSocket::new(bound, heard.clone()).expect("a socket");
        socket.shared.io.writable().await.expect("a runtime");
        let gone = UdpSocket::bind("127.0.0.1:0").expect("a port of loopback");
        let gone_at = gone.local_addr().expect("bound");
        let watch = heard.watch(gone_at);
        drop(gone);
        send(&socket, format!("[::ffff:127.0.0.1]:{}", gone_at.port()).parse().expect("an address"), b"anybody?");
        let word = async {
            while watch.count() == 0 {
                let (mut buffer, mut meta) = ([0; 64], [RecvMeta::default()]);
                let nothing = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
                let _ = time::timeout(Duration::from_millis(20), nothing).await;
            }
        };
        time::timeout(Duration::from_secs(10), word).await.expect("the word is heard");
    }
}
