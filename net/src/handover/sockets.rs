//! Sockets that whoever started the process has opened for it (systemd's socket units, `LISTEN_FDS`). They outlive the process, so
//! what clients send while it is restarted waits in them.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use listenfd::ListenFd;
use quinn::AsyncUdpSocket;

use crate::{
    Datagrams, Front, Listener, Network, Os, PingError, Socket, Unreachables,
    network::{Boxed, front, naming, tcp_listener},
    quic::QuicSocket,
};

/// The system's network, in which some addresses are bound already. They stay so: a listener that is dropped, and comes again, finds
/// its socket.
#[derive(Debug, Default)]
pub struct Inherited(Vec<Given>);

#[derive(Debug)]
struct Given {
    socket: Kind,
    address: SocketAddr,
    is_used: AtomicBool,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl Inherited {
    /// What this process was given: nothing, most likely.
    ///
    /// # Errors
    /// If something of it is neither a listening TCP socket nor a UDP socket of IP.
    pub fn of_process() -> io::Result<Self> {
        let mut given = ListenFd::from_env();
        let mut all = Self::default();
        for number in 0..given.len() {
            let socket = match given.take_tcp_listener(number) {
                Ok(socket) => socket.map(Kind::Tcp),
                Err(_) => given.take_udp_socket(number).map_err(|error| wrong(number, &error))?.map(Kind::Udp),
            };
            if let Some(socket) = socket {
                all.take(socket).map_err(|error| wrong(number, &error))?;
            }
        }
        Ok(all)
    }

    fn take(&mut self, socket: Kind) -> io::Result<()> {
        let address = match &socket {
            Kind::Tcp(socket) => socket.local_addr()?,
            Kind::Udp(socket) => socket.local_addr()?,
        };
        self.0.push(Given { socket, address, is_used: AtomicBool::new(false) });
        Ok(())
    }

    /// Sockets that nobody has asked for, in words.
    pub fn unused(&self) -> impl Iterator<Item = String> {
        self.0.iter().filter(|given| !given.is_used.load(Ordering::Relaxed)).map(Given::to_string)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn find<T>(&self, address: SocketAddr, of: impl Fn(&Kind) -> Option<io::Result<T>>) -> Option<io::Result<T>> {
        let fitting = self.0.iter().filter(|given| is_same(given.address, address));
        fitting.filter_map(|given| of(&given.socket).inspect(|_| given.is_used.store(true, Ordering::Relaxed))).next()
    }

    fn udp(&self, address: SocketAddr) -> Option<io::Result<UdpSocket>> {
        self.find(address, |socket| match socket {
            Kind::Udp(socket) => Some(socket.try_clone()),
            Kind::Tcp(_) => None,
        })
    }
}

fn wrong(number: usize, error: &io::Error) -> io::Error {
    let right =
        "it must be a listening TCP socket (ListenStream=) or a UDP socket (ListenDatagram=), with an IP address";
    io::Error::new(error.kind(), format!("socket {number} that the process was given cannot be used: {error}; {right}"))
}

/// Whether a socket is the one that an address asks for. All addresses are all, of whichever family.
fn is_same(bound: SocketAddr, asked: SocketAddr) -> bool {
    let (here, there): (IpAddr, IpAddr) = (bound.ip().to_canonical(), asked.ip().to_canonical());
    bound.port() == asked.port() && (here == there || (here.is_unspecified() && there.is_unspecified()))
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.socket {
            Kind::Tcp(_) => "TCP",
            Kind::Udp(_) => "UDP",
        };
        write!(f, "{kind} {}", self.address)
    }
}

impl Network for Inherited {
    fn listen(&self, address: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let given = self.find(address, |socket| match socket {
            Kind::Tcp(socket) => Some(socket.try_clone()),
            Kind::Udp(_) => None,
        });
        let Some(given) = given else { return Os.listen(address) };
        given.and_then(tcp_listener).map_err(|error| naming("TCP", address, &error))
    }

    fn dial(&self, address: SocketAddr) -> Boxed<'_, io::Result<Socket>> {
        Os.dial(address)
    }

    fn bind_quic(&self, address: SocketAddr, heard: &Unreachables) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let Some(given) = self.udp(address) else { return Os.bind_quic(address, heard) };
        let socket = given.and_then(|socket| QuicSocket::new(socket, heard.clone()));
        Ok(Arc::new(socket.map_err(|error| naming("UDP", address, &error))?))
    }

    fn bind_udp(&self, address: SocketAddr) -> io::Result<Front> {
        let Some(given) = self.udp(address) else { return Os.bind_udp(address) };
        given.and_then(|socket| front(socket.into())).map_err(|error| naming("UDP", address, &error))
    }

    fn dial_udp(&self, address: SocketAddr) -> io::Result<Datagrams> {
        Os.dial_udp(address)
    }

    fn ping(&self, ip: IpAddr) -> Boxed<'_, Result<Duration, PingError>> {
        Os.ping(ip)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[tokio::test]
    async fn a_socket_that_was_given_serves_again_and_again() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
        let (at, udp_at) = (listener.local_addr().expect("bound"), udp.local_addr().expect("bound"));
        let mut given = Inherited::default();
        given.take(Kind::Tcp(listener)).expect("bound");
        given.take(Kind::Udp(udp)).expect("bound");
        assert_eq!(given.unused().collect::<Vec<_>>(), [format!("TCP {at}"), format!("UDP {udp_at}")]);
        for _ in 0..2 {
            // It waits in the socket until somebody listens.
            let waiting = TcpStream::connect(at).expect("it is bound");
            let listener = given.listen(at).expect("it is there");
            let (_, source) = listener.accept().await.expect("it waits");
            assert_eq!(Some(source), waiting.local_addr().ok());
        }
        let front = given.bind_udp(udp_at).expect("it is there");
        assert_eq!(front.local_addr().ok(), Some(udp_at));
        assert_eq!(given.unused().count(), 0);
        let other = given.listen((Ipv4Addr::LOCALHOST, 0).into()).expect("others are bound");
        assert_ne!(other.local_addr().ok(), Some(at));
    }

    #[test]
    fn all_addresses_are_all_of_whichever_family() {
        let same =
            |bound: &str, asked: &str| is_same(bound.parse().expect("an address"), asked.parse().expect("an address"));
        assert!(same("[::]:80", "0.0.0.0:80") && same("10.0.0.1:80", "10.0.0.1:80"));
        assert!(!same("[::]:80", "[::]:81") && !same("0.0.0.0:80", "10.0.0.1:80"));
    }
}
