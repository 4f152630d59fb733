//! Opens a stream of a link and waits for the connector's reply, whatever goes along meanwhile: a client's first bytes, its
//! early payloads, or nothing.

use std::{pin::pin, sync::Arc, time::Duration};

use protocol::{
    error::{Reason, StreamCode},
    limits::NUDGE_AFTER,
    link::SendStream,
    splice::Stream,
    stream::{Open, Reply, Stages},
    wire::{WireError, read_reply},
};
use tokio::time;

use super::{Failure, Opening, refused};
use crate::{
    model::Held,
    tunnel::{Link, OpenError},
};

/// Beyond the connector's own limit and four round trips, how long its reply may take.
const REPLY_SLACK: Duration = Duration::from_millis(250);

/// What goes along with an opening.
pub(super) trait Along {
    /// What leaves with the header; that it has is told to [`Along::left`].
    fn beginning(&self) -> &[u8] {
        &[]
    }

    /// So many bytes have left with the header.
    fn left(&mut self, _bytes: usize) {}

    /// Sends what there is and takes more, for ever; ends only when the client is gone.
    async fn pump(&mut self, send: &mut SendStream) -> Failure;

    /// True if trying elsewhere cannot deliver anything twice that matters.
    fn may_be_placed_again(&self) -> bool;
}

/// Nothing.
pub(super) struct Alone;

impl Along for Alone {
    async fn pump(&mut self, _send: &mut SendStream) -> Failure {
        std::future::pending().await
    }

    fn may_be_placed_again(&self) -> bool {
        true
    }
}

/// A stream whose origin has accepted.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) stream: Stream,
    /// The stream counts as open on its link while this is held.
    pub(super) held: Held,
    /// How long the dial took at the connector.
    pub(super) connect: Duration,
    /// How long each stage of that took there, if it says so.
    pub(super) stages: Option<Stages>,
}

/// Opens a stream with this header, and waits until the origin has accepted.
pub(super) async fn open_over(
    link: &Arc<Link>,
    opening: Opening<'_>,
    header: &Open,
    along: &mut impl Along,
) -> Result<Accepted, Failure> {
    let wait = opening.wait + link.rtt() * 4 + REPLY_SLACK;
    let beginning = along.beginning().len();
    let opened = link.open(header, along.beginning(), (opening.priority, wait)).await;
    if matches!(opened, Ok(_) | Err(OpenError::Unanswered)) {
        along.left(beginning);
    }
    let (mut stream, held) = opened.map_err(not_opened)?;
    match await_reply(link, &mut stream, wait, along).await {
        Ok(Reply::Connected { connect }) => Ok(Accepted { stream, held, connect, stages: None }),
        Ok(Reply::Reached(stages)) => Ok(Accepted { stream, held, connect: stages.total(), stages: Some(stages) }),
        Ok(Reply::Refused { reason, text }) => Err(Failure::Refused(reason, text)),
        Err(failure) => {
            stream.cut(StreamCode::Cancelled);
            Err(failure)
        }
    }
}

fn not_opened(error: OpenError) -> Failure {
    let reason = match error {
        OpenError::NoCredit => Reason::ConnectorOverloaded,
        OpenError::Lost => Reason::LinkLost,
        OpenError::Full => Reason::ConnectTimeout,
        OpenError::Unanswered => return Failure::Unanswered(Reason::ConnectTimeout),
    };
    refused(reason, &error.to_string())
}

async fn await_reply(
    link: &Link,
    stream: &mut Stream,
    wait: Duration,
    along: &mut impl Along,
) -> Result<Reply, Failure> {
    let mut reply = pin!(read_reply(&mut stream.recv));
    let mut late = pin!(time::sleep(wait));
    let mut quiet = pin!(time::sleep(NUDGE_AFTER.max(link.rtt() * 4)));
    let mut may_nudge = true;
    let mut may_suspect = true;
    loop {
        tokio::select! {
            biased;
            reply = &mut reply => return reply.map_err(|e| Failure::Unanswered(match e {
                WireError::Lost(_) => Reason::LinkLost,
                WireError::Cut(_)
                | WireError::Ended
                | WireError::Decode(_)
                | WireError::OutOfOrder(_)
                | WireError::Deaf => Reason::ConnectionReset,
            })),
            failure = along.pump(&mut stream.send) => return Err(failure),
            () = link.suspected(), if may_suspect => {
                if along.may_be_placed_again() {
                    return Err(Failure::Unanswered(Reason::LinkLost));
                }
                // Elsewhere it might be delivered twice: the link may yet recover.
                may_suspect = false;
            }
            () = &mut quiet, if may_nudge => {
                may_nudge = false;
                link.nudge();
            }
            () = &mut late => return Err(Failure::Unanswered(Reason::ConnectTimeout)),
        }
    }
}
