//! Connections to origins: kept, shared, looked at before they are used again; what is left of a request when one breaks, and what
//! pays for sending it once more.

pub(crate) mod early;
pub(crate) mod failed;
pub(crate) mod idle;
pub(crate) mod patience;
pub(crate) mod upstream;
