//! Long TCP transfers through an origin that sends everything back: every byte is compared.

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use rig::{
    client::{self, Pattern},
    load::Client,
    sample::{Kind, Outcome, Trouble},
};

use super::{To, fresh_id};

const BLOCK: usize = 16 * 1024;
/// Blocks of a transfer.
const BLOCKS: usize = 200;

/// Transfer after transfer. Each begins with its number, by which the origin tells whether it has seen it before.
pub(super) fn run(client: &Client, to: To, every: Duration) {
    let mut next = Instant::now();
    loop {
        let id = fresh_id();
        let mut pattern = Pattern::new(id);
        let (mut stream, mut on) = (None, None);
        for number in 0..BLOCKS {
            if !client.goes_on(&mut next, every) {
                return;
            }
            let mut block = pattern.bytes(BLOCK);
            if number == 0 {
                block[..8].copy_from_slice(&id.to_be_bytes());
            }
            if client.record(&mut on, Kind::Block, |_| carry(&mut stream, to, &block)) != Outcome::Served {
                break;
            }
        }
    }
}

fn carry(stream: &mut Option<TcpStream>, to: To, block: &[u8]) -> Result<(), Trouble> {
    let stream = match stream {
        Some(stream) => stream,
        None => stream.insert(client::connect(to.at)?),
    };
    stream.write_all(block)?;
    client::comes_back(stream, block)
}
