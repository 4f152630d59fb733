//! Long TCP transfers through an origin that sends everything back: every byte is compared.

use std::{
    net::TcpStream,
    time::{Duration, Instant},
};

use rig::sample::{Kind, Outcome};
use underpass_tests::harness::{
    client::{self, Pattern},
    wait,
};

use super::{Client, failed, fresh_id};

const BLOCK: usize = 16 * 1024;
/// Blocks of a transfer.
const BLOCKS: usize = 200;

/// Transfer after transfer. Each begins with its number, by which the origin tells whether it has seen it before.
pub(super) fn run(client: &Client, every: Duration) {
    let mut next = Instant::now();
    while !client.is_stopped() {
        let id = fresh_id();
        let mut pattern = Pattern::new(id);
        let (mut stream, mut on) = (None, None);
        for number in 0..BLOCKS {
            if client.is_stopped() {
                return;
            }
            wait::beat(&mut next, client.every(every));
            let mut block = pattern.bytes(BLOCK);
            if number == 0 {
                block[..8].copy_from_slice(&id.to_be_bytes());
            }
            let outcome = client.record_on(&mut on, Kind::Block, |_| carry(&mut stream, client, &block));
            if outcome != Outcome::Served {
                break;
            }
        }
    }
}

fn carry(stream: &mut Option<TcpStream>, client: &Client, block: &[u8]) -> Outcome {
    let opened = match stream {
        Some(stream) => Ok(stream),
        None => client::connect(client.at).map(|new| stream.insert(new)),
    };
    match opened.and_then(|stream| client::ping(stream, block)) {
        Ok(()) => Outcome::Served,
        Err(error) if error.to_string() == client::OTHER_BYTES => Outcome::Wrong(error.to_string()),
        Err(error) => failed(error),
    }
}
