//! A client's DNS session: one socket that asks one question after the other, each until it is answered.

use std::{collections::VecDeque, io, net::SocketAddr};

use super::udp::{Asking, UdpClient};
use crate::{dns, sample::Trouble};

/// Questions whose answers may still come: those to questions that were asked twice come twice.
const EARLIER_MAX: usize = 256;

/// An open session.
#[derive(Debug)]
pub struct Resolver {
    client: UdpClient,
    earlier: VecDeque<Vec<u8>>,
}

impl Resolver {
    /// Opens a session; nothing is sent yet.
    ///
    /// # Errors
    /// The kernel's, when it has no socket to give.
    pub fn open(at: SocketAddr) -> io::Result<Self> {
        Ok(Self { client: UdpClient::new(at)?, earlier: VecDeque::new() })
    }

    /// Asks what was never asked before, and again every while until an answer comes. Answers to earlier questions are
    /// passed over.
    ///
    /// # Errors
    /// If none comes, or something that answers nothing.
    pub fn ask(&mut self, question: &[u8], asking: Asking<'_>) -> Result<Vec<u8>, Trouble> {
        let patience = asking.patience;
        let earlier = &self.earlier;
        let came = self.client.ask(question, asking, |came| {
            let is_earlier = earlier.iter().any(|earlier| dns::code_for(earlier, &came).is_some());
            match dns::code_for(question, &came) {
                Some(_) => Some(Ok(came)),
                None if is_earlier => None,
                None => {
                    Some(Err(format!("{} bytes came that answer no question: {}", came.len(), came.escape_ascii())))
                }
            }
        });
        if self.earlier.len() >= EARLIER_MAX {
            self.earlier.pop_front();
        }
        self.earlier.push_back(question.to_vec());
        match came? {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(wrong)) => Err(Trouble::Wrong(wrong)),
            None => Err(Trouble::Failed(format!("no answer in {:.1} s", patience.as_secs_f64()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Mutex, time::Duration};

    use super::*;
    use crate::origin::udp::UdpOrigin;

    fn asked(
        answers: impl Fn(usize, &[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Vec<(Result<u8, Trouble>, u32)> {
        let count = Mutex::new(0);
        let mut origin = UdpOrigin::idle((Ipv4Addr::LOCALHOST, 0).into(), move |payload| {
            let mut count = count.lock().expect("no panic while held");
            *count += 1;
            answers(*count, payload)
        });
        origin.resume().expect("some port is free");
        let mut resolver = Resolver::open(origin.address()).expect("there is a socket");
        let ask = |id| {
            let (question, mut repeats) = (dns::question(id, &["who"], dns::TXT), 0);
            let (again, patience) = (Duration::from_millis(200), Duration::from_millis(500));
            let answer = resolver.ask(&question, Asking { again, patience, repeats: &mut repeats });
            (answer.map(|answer| answer[1]), repeats)
        };
        [1, 2].map(ask).into()
    }

    fn answer(question: &[u8]) -> Vec<u8> {
        dns::Asked::read(question).expect("it is a question").answer(&[])
    }

    #[test]
    fn what_is_lost_is_asked_again_and_answers_that_come_twice_are_passed_over() {
        let seen = asked(|number, question| match number {
            1 => Vec::new(),
            _ => vec![answer(question), answer(&dns::question(1, &["who"], dns::TXT))],
        });
        assert!(matches!(seen[..], [(Ok(1), 1..), (Ok(2), 0)]), "{seen:?}");
    }

    #[test]
    fn anothers_answer_is_wrong_and_none_is_a_failure() {
        let seen =
            asked(|number, _| if number == 1 { vec![answer(&dns::question(9, &["who"], dns::TXT))] } else { vec![] });
        assert!(matches!(seen[..], [(Err(Trouble::Wrong(_)), 0), (Err(Trouble::Failed(_)), 1..)]), "{seen:?}");
    }
}
