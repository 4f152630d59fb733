//! A UDP relay between a connector and an edge: records what passes, and can lose all of it, or what belongs to some connections.

use std::{
    collections::{HashMap, HashSet},
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// Most datagrams remembered.
const RECORDED_MAX: usize = 2_000;

/// A relay. Datagrams pass until it is cut or dropped.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Where connectors dial.
    pub address: SocketAddr,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    cut: AtomicBool,
    recorded: Mutex<Vec<Vec<u8>>>,
    connections: Mutex<Connections>,
}

/// How QUIC calls a connection in a packet of either side (RFC 9000 section 17.3.1), as quinn makes them.
type ConnectionId = [u8; 8];

/// Connections that were established through the relay.
#[derive(Debug, Default)]
struct Connections {
    known: HashSet<ConnectionId>,
    lost: HashSet<ConnectionId>,
}

impl Connections {
    /// Whether a datagram passes.
    fn pass(&mut self, datagram: &[u8]) -> bool {
        let Some((first, rest)) = datagram.split_first() else { return true };
        let is_handshake = first & 0x80 != 0;
        let Some(id) = rest.first_chunk().filter(|_| !is_handshake) else { return true };
        self.known.insert(*id);
        !self.lost.contains(id)
    }
}

impl Relay {
    /// Relays what comes to `address` to `edge`, and answers back.
    ///
    /// # Panics
    /// If the address is taken.
    #[must_use]
    pub fn start(address: SocketAddr, edge: SocketAddr) -> Self {
        let front = UdpSocket::bind(address).expect("the address is free");
        front.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket takes a time-out");
        let shared = Arc::new(Shared::default());
        let inner = shared.clone();
        let thread = thread::spawn(move || forward(&front, edge, &inner));
        Self { shared, thread: Some(thread), address }
    }

    /// Loses everything from now on, both ways, or no longer.
    pub fn cut(&self, cut: bool) {
        self.shared.cut.store(cut, Ordering::SeqCst);
    }

    /// Loses what belongs to any connection that was established so far; later ones pass.
    ///
    /// # Panics
    /// If the relay's thread panicked.
    pub fn lose_established(&self) {
        let mut connections = self.shared.connections.lock().expect("no panic while held");
        connections.lost = connections.known.clone();
    }

    /// Loses nothing of any connection any more.
    ///
    /// # Panics
    /// If the relay's thread panicked.
    pub fn lose_none(&self) {
        self.shared.connections.lock().expect("no panic while held").lost.clear();
    }

    /// What connectors sent so far.
    ///
    /// # Panics
    /// If the relay's thread panicked.
    #[must_use]
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        self.shared.recorded.lock().expect("no panic while held").clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn passes(&self, datagram: &[u8]) -> bool {
        !self.cut.load(Ordering::SeqCst) && self.connections.lock().expect("no panic while held").pass(datagram)
    }
}

fn forward(front: &UdpSocket, edge: SocketAddr, shared: &Arc<Shared>) {
    let mut backs: HashMap<SocketAddr, UdpSocket> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    while !shared.stop.load(Ordering::SeqCst) {
        let Ok((len, client)) = front.recv_from(&mut buffer) else { continue };
        if !shared.passes(&buffer[..len]) {
            continue;
        }
        let mut recorded = shared.recorded.lock().expect("no panic while held");
        if recorded.len() < RECORDED_MAX {
            recorded.push(buffer[..len].to_vec());
        }
        drop(recorded);
        let back = backs.entry(client).or_insert_with(|| open_back(front, client, edge, shared));
        // An edge that is not there loses the datagram, as a network does.
        let _ = back.send(&buffer[..len]);
    }
}

fn open_back(front: &UdpSocket, client: SocketAddr, edge: SocketAddr, shared: &Arc<Shared>) -> UdpSocket {
    let back = UdpSocket::bind((edge.ip(), 0)).expect("some port is free");
    back.connect(edge).expect("a UDP socket connects at once");
    back.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket takes a time-out");
    let (reader, front) = (back.try_clone(), front.try_clone());
    let (reader, front) = (reader.expect("a socket can be cloned"), front.expect("a socket can be cloned"));
    let shared = shared.clone();
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while !shared.stop.load(Ordering::SeqCst) {
            let Ok(len) = reader.recv(&mut buffer) else { continue };
            if shared.passes(&buffer[..len]) {
                let _ = front.send_to(&buffer[..len], client);
            }
        }
    });
    back
}
