//! Clients' connections: what may come over them, how patient they are waited for, and what the edge says itself.

pub(crate) mod answer;
pub(crate) mod duplex;
pub(crate) mod frames;
pub(crate) mod guard;
pub(crate) mod interim;
pub(crate) mod io;
pub(crate) mod meter;
pub(crate) mod owed;
pub(crate) mod received;
pub(crate) mod rest;
pub(crate) mod stall;
pub(crate) mod switch;
pub(crate) mod talk;
pub(crate) mod watched;
