//! The ICMP check: has the origin's host asked for a sign of life, by whoever would dial it.

use protocol::error::Reason;

use super::{Stages, Task};
use crate::offramp::{Failure, Offramp};

/// Asks once; whoever calls limits the wait for an answer.
pub(super) async fn ask(offramp: &Offramp, task: &Task, stages: &mut Stages) -> Result<(), Reason> {
    match offramp.ping(task.opening()).await {
        Ok(took) => {
            stages.first_byte = Some(took);
            Ok(())
        }
        Err(Failure::Refused(reason, _) | Failure::Unanswered(reason)) => Err(reason),
        Err(Failure::ClientGone) => Err(Reason::ConnectionReset),
    }
}
