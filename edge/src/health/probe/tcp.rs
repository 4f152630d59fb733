//! The TCP check that says something, or listens: bytes are sent, and others must come back. It knows no protocol.

use std::time::{Duration, Instant};

use protocol::error::Reason;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use super::FAREWELL;
use crate::{model::TcpCheck, offramp::Why};

/// How much of an answer is searched for the expected bytes.
const ANSWER_MAX: usize = 16 * 1024;

/// Asks once; whoever calls limits the time. `first_byte` gets the time to the first byte of an answer.
pub(super) async fn ask<W>(wire: &mut W, check: &TcpCheck, first_byte: &mut Option<Duration>) -> Result<(), Why>
where
    W: AsyncRead + AsyncWrite + Unpin,
{
    let asked = Instant::now();
    let reset = |error| Why::new(Reason::ConnectionReset, format!("connected, then: {error}"));
    wire.write_all(&check.send).await.map_err(reset)?;
    wire.flush().await.map_err(reset)?;
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    loop {
        let room = part.len().min(ANSWER_MAX - answer.len());
        let read = wire.read(&mut part[..room]).await.map_err(reset)?;
        if read == 0 {
            return Err(Why::new(Reason::BodyMismatch, missing(answer.len())));
        }
        first_byte.get_or_insert_with(|| asked.elapsed());
        // What is expected may have begun in what came before.
        let from = answer.len().saturating_sub(check.expect.len());
        answer.extend_from_slice(&part[..read]);
        if answer[from..].windows(check.expect.len()).any(|window| window == check.expect) {
            return Ok(());
        }
        if answer.len() == ANSWER_MAX {
            return Err(Why::new(Reason::BodyMismatch, missing(ANSWER_MAX)));
        }
    }
}

/// Ends a connection politely: an origin should not log a reset for every probe.
pub(super) async fn part<W: AsyncRead + AsyncWrite + Unpin>(mut wire: W) {
    let mut rest = Vec::new();
    let farewell = async {
        wire.shutdown().await?;
        wire.take(64 * 1024).read_to_end(&mut rest).await
    };
    let _ = timeout(FAREWELL, farewell).await;
}

fn missing(read: usize) -> String {
    format!("what is expected is not in the {read} bytes of the answer")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a check comes to whose origin says this, in parts, and closes.
    async fn asked(expect: &str, parts: &[&[u8]]) -> Result<(), Reason> {
        let mut near = origin(parts);
        let check = TcpCheck { send: b"PING\r\n".to_vec(), expect: expect.into() };
        ask(&mut near, &check, &mut None).await.map_err(|why| why.reason)
    }

    fn origin(parts: &[&[u8]]) -> tokio::io::DuplexStream {
        let (near, mut far) = tokio::io::duplex(64);
        let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.to_vec()).collect();
        tokio::spawn(async move {
            let mut question = [0; 6];
            far.read_exact(&mut question).await.expect("the question comes");
            assert_eq!(&question, b"PING\r\n");
            for part in parts {
                if far.write_all(&part).await.is_err() {
                    return;
                }
                tokio::task::yield_now().await;
            }
        });
        near
    }

    #[tokio::test]
    async fn the_expected_bytes_may_come_in_parts_and_anywhere() {
        assert_eq!(asked("+PONG", &[b"+PONG\r\n"]).await, Ok(()));
        assert_eq!(asked("+PONG", &[b"noise +P", b"O", b"NG"]).await, Ok(()));
        assert_eq!(asked("\0\u{1}", &[b"\0", b"\0\x01"]).await, Ok(()));
    }

    #[tokio::test]
    async fn an_origin_that_closes_or_answers_otherwise_is_found_out() {
        assert_eq!(asked("+PONG", &[]).await, Err(Reason::BodyMismatch));
        assert_eq!(asked("+PONG", &[b"-NOAUTH\r\n"]).await, Err(Reason::BodyMismatch));
        assert_eq!(asked("+PONG", &[b"+PON"]).await, Err(Reason::BodyMismatch));
    }

    #[tokio::test]
    async fn an_endless_answer_is_read_up_to_its_bound() {
        let many = vec![b'x'; 2 * ANSWER_MAX];
        assert_eq!(asked("+PONG", &[&many]).await, Err(Reason::BodyMismatch));
        let mut late = vec![b'x'; ANSWER_MAX];
        late.extend_from_slice(b"+PONG");
        assert_eq!(asked("+PONG", &[&late]).await, Err(Reason::BodyMismatch), "behind the bound");
    }

    #[tokio::test(start_paused = true)]
    async fn an_origin_of_one_byte_a_second_has_only_the_time_it_is_given() {
        let (mut near, mut far) = tokio::io::duplex(64);
        tokio::spawn(async move {
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let check = TcpCheck { send: Vec::new(), expect: b"220 ".to_vec() };
        let mut first_byte = None;
        let limited = timeout(Duration::from_secs(5), ask(&mut near, &check, &mut first_byte));
        assert!(limited.await.is_err());
        assert!(first_byte.is_some());
    }
}
