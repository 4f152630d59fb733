//! The UDP check: sends a payload in a session of its own and waits for the answer.

use std::time::Instant;

use protocol::{
    datagram::Arena,
    error::{Reason, StreamCode},
    session::{Event, SessionEnd},
};

use super::{Stages, Task};
use crate::{
    model::UdpCheck,
    offramp::{Early, Offramp, Why},
};

/// Asks once; whoever calls limits the wait for an answer.
pub(super) async fn ask(offramp: &Offramp, task: &Task, check: &UdpCheck, stages: &mut Stages) -> Result<(), Why> {
    let wait = task.monitor.timeout;
    let mut early = Early::only(Arena::default().copy(&check.send));
    let mut path = offramp.open_session(task.opening(), wait, &mut early).await?;
    stages.connect = Some(path.connect);
    let asked = Instant::now();
    loop {
        match path.next().await {
            Event::Payload(answer) if is_expected(&answer, &check.expect) => {
                stages.first_byte = Some(asked.elapsed());
                path.finish();
                return Ok(());
            }
            // Another answer may follow; if none does, this counts as none.
            Event::Payload(_) => stages.first_byte = Some(asked.elapsed()),
            Event::Ended(SessionEnd::Cut(StreamCode::Unreachable)) => {
                return Err(Why::nobody_listens());
            }
            Event::Ended(SessionEnd::LinkLost) => return Err(Why::new(Reason::LinkLost, "the link died")),
            Event::Ended(SessionEnd::Finished | SessionEnd::Cut(_)) => {
                return Err(Why::new(Reason::ConnectionReset, "the connector ended the session"));
            }
        }
    }
}

fn is_expected(answer: &[u8], expect: &[u8]) -> bool {
    expect.is_empty() || answer.windows(expect.len()).any(|part| part == expect)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expected_bytes_may_stand_anywhere_in_the_answer() {
        assert!(is_expected(b"an answer", b"answer"));
        assert!(is_expected(b"", b""), "any answer will do, an empty one too");
        assert!(!is_expected(b"an ans", b"answer"));
        assert!(!is_expected(b"", b"answer"));
    }
}
