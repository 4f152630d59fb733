//! DNS questions over UDP, asked again on silence as resolvers do.

use std::{net::SocketAddr, time::Duration};

use rig::{
    client::{resolver::Resolver, udp::Asking},
    dns,
    load::{Client, Noted},
    sample::{Kind, Trouble},
};

use super::{To, fresh_id};

/// Silence after which a question is asked again.
const AGAIN: Duration = Duration::from_millis(700);
/// After six of these it is given up.
const PATIENCE: Duration = Duration::from_millis(6 * 700);
/// Questions from one port, which makes them one session at an edge.
const SESSION: u32 = 20;
/// What the server answers to every question of `.test`.
const ADDRESS: [u8; 4] = [192, 0, 2, 7];

/// Question after question.
pub(super) fn run(client: &Client, to: To, every: Duration) {
    let (mut resolver, mut on) = (None, None);
    let mut asked = 0;
    client.pace(every, || {
        if asked % SESSION == 0 {
            (resolver, on) = (None, None);
        }
        asked += 1;
        client.record(&mut on, Kind::Question, |noted| ask(&mut resolver, to.at, noted));
    });
}

fn ask(resolver: &mut Option<Resolver>, at: SocketAddr, noted: &mut Noted) -> Result<(), Trouble> {
    let resolver = match resolver {
        Some(resolver) => resolver,
        None => resolver.insert(Resolver::open(at)?),
    };
    let id = fresh_id();
    let question =
        dns::question(u16::try_from(id % 0x1_0000).unwrap_or_default(), &[&format!("n{id}"), "test"], dns::A);
    let answer = resolver.ask(&question, Asking { again: AGAIN, patience: PATIENCE, repeats: &mut noted.repeats })?;
    match (dns::code_for(&question, &answer), dns::data_for(&question, &answer, dns::A)) {
        (Some(0), Some(address)) if address == ADDRESS => Ok(()),
        (Some(code), _) if code != 0 => Err(Trouble::Failed(format!("DNS code {code}"))),
        _ => Err(Trouble::Wrong(format!("{answer:02x?} to {question:02x?}"))),
    }
}
