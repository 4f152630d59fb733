//! The ICMP check: has the origin's host asked for a sign of life, by whoever would dial it.

use super::{Stages, Task};
use crate::offramp::{Offramp, Why};

/// Asks once; whoever calls limits the wait for an answer.
pub(super) async fn ask(offramp: &Offramp, task: &Task, stages: &mut Stages) -> Result<(), Why> {
    stages.first_byte = Some(offramp.ping(task.opening()).await?);
    Ok(())
}
