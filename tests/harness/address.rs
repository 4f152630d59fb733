//! Loopback addresses that belong to one world alone, so that tests running side by side never meet.
//!
//! A world claims 16 networks 127.B.C.0/24 by holding an abstract socket name, which the kernel frees with the process.

use std::{
    net::{Ipv4Addr, SocketAddr},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr as UnixAddr, UnixListener},
    },
    process,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use rig::ports::{self, Ports};

const NETWORKS: u8 = 16;
const BLOCKS: u32 = 200 * 16;

/// Blocks claimed by this process so far.
static CLAIMED: AtomicU32 = AtomicU32::new(0);

/// 16 loopback networks.
#[derive(Debug)]
pub struct Block {
    second: u8,
    third: u8,
    ports: Mutex<Ports>,
    _claim: UnixListener,
}

impl Block {
    /// Claims a block that nobody has.
    ///
    /// # Panics
    /// If there is none, which takes thousands of worlds at once.
    #[must_use]
    pub fn claim() -> Self {
        // Never the block that a world of this process has just left: its connections may still be waiting out their time.
        let first = process::id().wrapping_mul(37).wrapping_add(CLAIMED.fetch_add(1, Ordering::Relaxed));
        (0..BLOCKS)
            .find_map(|n| Self::try_claim(first.wrapping_add(n) % BLOCKS))
            .expect("some block of loopback addresses is free")
    }

    fn try_claim(number: u32) -> Option<Self> {
        let second = u8::try_from(20 + number / 16).expect("200 blocks from 20 on fit");
        let third = u8::try_from(number % 16 * u32::from(NETWORKS)).expect("16 times 16 networks fit");
        let name = UnixAddr::from_abstract_name(format!("underpass-tests/127.{second}.{third}")).expect("a short name");
        let claim = UnixListener::bind_addr(&name).ok()?;
        let ports = Mutex::new(Ports::beginning_at(ports::RANGE.start + u16::from(third) * 50));
        Some(Self { second, third, ports, _claim: claim })
    }

    /// Host `host` of the block's network `network`.
    ///
    /// # Panics
    /// If there is no such network.
    #[must_use]
    pub fn host(&self, network: u8, host: u8) -> Ipv4Addr {
        assert!(network < NETWORKS, "a block has {NETWORKS} networks");
        Ipv4Addr::new(127, self.second, self.third + network, host)
    }

    /// A port of `host` that is free for TCP and UDP and is not handed out again.
    ///
    /// # Panics
    /// If every port is taken.
    #[must_use]
    pub fn free(&self, host: Ipv4Addr) -> SocketAddr {
        let found = self.ports.lock().expect("no panic while held").any(host.into());
        found.expect("some port is free")
    }
}
