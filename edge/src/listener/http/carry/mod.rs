//! One request and its answer on their way: placed, sent, sent again, passed on, counted.

pub(crate) mod body;
pub(crate) mod copied;
pub(crate) mod deadline;
pub(crate) mod direction;
pub(crate) mod drain;
pub(crate) mod forward;
pub(crate) mod outgoing;
pub(crate) mod pace;
pub(crate) mod record;
pub(crate) mod reply;
pub(crate) mod upgrade;
