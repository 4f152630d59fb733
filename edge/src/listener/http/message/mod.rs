//! HTTP messages, read to the letter and written anew: heads, framing, hosts, paths, fields, and what is wrong with them. Pure, and
//! knows no connection.

pub(crate) mod authority;
pub(crate) mod boxed;
pub(crate) mod chunks;
pub(crate) mod fault;
pub(crate) mod fields;
pub(crate) mod frames;
pub(crate) mod grammar;
pub(crate) mod grpc;
pub(crate) mod head;
pub(crate) mod path;
pub(crate) mod protocols;
pub(crate) mod request;
pub(crate) mod trace;
pub(crate) mod websocket;
