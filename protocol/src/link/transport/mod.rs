//! What carries a link, a room each: `quic`.
//!
//! A room here alone names its library. It knows nothing of messages, flows or sessions.

pub mod quic;
