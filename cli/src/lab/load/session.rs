//! A client's UDP session: one socket that asks one question of DNS after the other, each until it is answered.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use rig::dns;
use tokio::{
    net::UdpSocket,
    time::{MissedTickBehavior, interval},
};

/// UDP may lose a payload, so a client that hears nothing for this long asks again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Longest answer.
const ANSWER_MAX: usize = 1500;

/// An open session.
#[derive(Debug)]
pub(super) struct Session {
    socket: UdpSocket,
    number: u64,
    /// Questions so far.
    asked: u64,
}

impl Session {
    /// Opens a session; nothing is sent yet.
    ///
    /// # Errors
    /// The kernel's, when it has no socket to give.
    pub(super) async fn open(at: SocketAddr, number: u64) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        socket.connect(at).await?;
        Ok(Self { socket, number, asked: 0 })
    }

    /// Asks what was never asked before, and again every while until an answer comes; counts the repeats.
    ///
    /// # Errors
    /// What came that answers nothing.
    pub(super) async fn ask(&mut self, repeats: &mut u32) -> Result<String, String> {
        self.asked += 1;
        let question = self.question(self.asked);
        let mut again = interval(AGAIN_AFTER);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        again.tick().await;
        loop {
            // Refused: nobody listens at the moment, and somebody may when it is asked again.
            let _ = self.socket.send(&question).await;
            tokio::select! {
                answer = self.answer(&question) => return answer,
                _ = again.tick() => *repeats += 1,
            }
        }
    }

    /// The answer to this question. Answers to earlier ones that were asked twice are passed over.
    async fn answer(&self, question: &[u8]) -> Result<String, String> {
        let mut buffer = [0; ANSWER_MAX];
        loop {
            // An error tells of what was sent: it says nothing about what will come.
            let Ok(len) = self.socket.recv(&mut buffer).await else { continue };
            let came = &buffer[..len];
            if let Some(text) = dns::text_for(question, came) {
                return Ok(text.to_owned());
            }
            let answers = |earlier| dns::text_for(&self.question(earlier), came).is_some();
            if !(1..self.asked).any(answers) {
                return Err(format!("{len} bytes came that answer no question: {}", came.escape_ascii()));
            }
        }
    }

    /// Like no other question of any session; long enough for the edge to let an answer to a new source pass.
    fn question(&self, number: u64) -> Vec<u8> {
        let id = u16::try_from(number % 0xffff).unwrap_or_default();
        dns::question(id, &[&format!("q{number:020}"), &format!("s{:020}", self.number), "lab"], dns::TXT)
    }
}
