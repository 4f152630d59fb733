//! `ready`: whether a running edge or connector is ready, as an exit code. It stands in for a health check's shell and
//! HTTP client in images that have neither.

use crate::{admin::AdminEndpoint, args::Common, failure::Failure, lifecycle, output};

pub(super) fn run(common: &Common, admin: Option<&str>) -> Result<(), Failure> {
    let asked = AdminEndpoint::find_any(admin, common.config.as_deref())?;
    let lacking = lifecycle::runtime()?.block_on(asked.ready())?;
    output::print(&format!("ready\n{lacking}"))
}
