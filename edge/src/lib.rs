//! The edge: the public relay of Underpass.
//!
//! Rooms, each using only those before it: `model, config, metrics` ← `tls` ← `store` ← `routing, tunnel` ← `offramp` ← `health` ←
//! `balancer` ← `listener` ← `admin` ← `edge`.

pub mod admin;
pub mod balancer;
pub mod config;
pub mod edge;
pub mod health;
pub mod listener;
pub mod metrics;
pub mod model;
pub mod offramp;
pub mod routing;
pub mod store;
pub mod tls;
pub mod tunnel;
