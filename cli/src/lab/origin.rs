//! The servers of the lab's private networks: small, real, and able to die and come back.
//!
//! They know nothing of edges or connectors beyond the line they say.

use std::io;

use rig::{
    dns::{Asked, Record},
    origin::{
        self, habits,
        http::{self, Answer},
        udp::UdpOrigin,
    },
};

use super::plan::{Ground, SERVICES, Saying, Server, Speech, replicas_of};

/// A server with all its doors; dropping it ends it.
#[derive(Debug)]
pub(super) struct Origin(Vec<Door>);

/// An address an origin is reached at, and who speaks there.
#[derive(Debug)]
enum Door {
    Tcp(origin::Origin),
    Udp(UdpOrigin),
}

impl Origin {
    /// Opens every door of a server, or none.
    ///
    /// # Errors
    /// The kernel's, when an address is taken.
    pub(super) fn start(ground: Ground, server: &Server) -> io::Result<Self> {
        let services = SERVICES.iter().filter(|service| service.vnet == server.vnet);
        let doors =
            services.flat_map(|service| replicas_of(service.vnet).map(move |replica| (replica, service.speech)));
        let door = |(replica, speech)| {
            let says = Saying::of(ground, server, replica, speech).to_string();
            let at = ground.real(server, replica, speech);
            match speech {
                Speech::Http => {
                    Door::Tcp(origin::Origin::idle(at, move |stream| http::serve(stream, |asked| answer(asked, &says))))
                }
                Speech::Echo => Door::Tcp(origin::Origin::idle(at, habits::greets(says))),
                Speech::Dns => Door::Udp(UdpOrigin::idle(at, move |payload| vec![answer_dns(payload, &says)])),
            }
        };
        let mut origin = Self(doors.map(door).collect());
        origin.revive()?;
        Ok(origin)
    }

    /// Closes every door and resets every connection, as when a machine's power fails and comes back without the server.
    pub(super) fn kill(&mut self) {
        for door in &mut self.0 {
            match door {
                Door::Tcp(door) => door.die(),
                Door::Udp(door) => door.stop(),
            }
        }
    }

    /// Opens the doors again after [`Origin::kill`].
    ///
    /// # Errors
    /// The kernel's, if somebody took an address meanwhile.
    pub(super) fn revive(&mut self) -> io::Result<()> {
        self.0.iter_mut().try_for_each(|door| match door {
            Door::Tcp(door) => door.resume(),
            Door::Udp(door) => door.resume(),
        })
    }
}

fn answer(asked: &http::Request, says: &str) -> Answer {
    Answer::ok(match asked.target() {
        "/healthz" => "ok\n",
        _ => says,
    })
}

/// Answers questions of DNS with a text, and sends everything else back as it is.
fn answer_dns(payload: &[u8], says: &str) -> Vec<u8> {
    let records = [Record::Text(says.trim_end().to_owned())];
    Asked::read(payload).map_or_else(|| payload.to_vec(), |asked| asked.answer(&records))
}

#[cfg(test)]
mod tests {
    use rig::dns;

    use super::*;
    use crate::lab::plan::SERVERS;

    #[test]
    fn questions_are_answered_and_other_payloads_come_back() {
        let question = dns::question(7, &["who"], dns::TXT);
        let answered = answer_dns(&question, "vnet=red\n");
        assert_eq!(dns::text_for(&question, &answered), Some("vnet=red"));
        assert_eq!(answer_dns(b"hello", "vnet=red\n"), b"hello");
    }

    /// A first answer beyond three times the question is held back by the edge.
    #[test]
    fn every_origin_may_answer_a_dig_at_once() {
        let edns = 11 + 12; // with its cookie
        let question = dns::question(0, &["who"], dns::TXT);
        for ground in Ground::all() {
            for server in &SERVERS {
                for replica in replicas_of(server.vnet) {
                    let says = Saying::of(ground, server, replica, Speech::Dns).to_string();
                    let answered = answer_dns(&question, &says);
                    assert!(answered.len() <= 3 * (question.len() + edns), "{says}");
                }
            }
        }
    }
}
