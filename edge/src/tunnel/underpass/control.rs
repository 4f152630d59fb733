//! The control stream of a connection, as admission hands it on to what keeps the link.

use protocol::{link::SendStream, wire::ControlReader};

/// A connection's control stream, both ways.
pub(super) struct Control {
    pub(super) send: SendStream,
    pub(super) reader: ControlReader,
}
