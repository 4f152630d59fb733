//! What tries the product, whoever tries it: the lab and its drill, the tests of the whole system, the faults.
//!
//! It knows nothing of the product itself but its outside, prints nothing and panics nowhere: who uses it decides what a
//! broken promise or a dead process means. It holds no runtime: origins and clients are threads, so that the lab may be async
//! and tests need not.

pub mod books;
pub mod client;
pub mod dns;
pub mod judge;
pub mod load;
pub mod origin;
pub mod pattern;
pub mod ports;
pub mod process;
pub mod sample;
pub mod stalls;
