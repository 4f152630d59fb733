//! What is the same for a TCP connection, a UDP session and an HTTP request: finding a place, attempts, and the line that tells
//! its story; of one that does not go well at once also what is kept for whoever asks why.

pub(super) mod attempts;
mod cause;
pub(super) mod placing;
pub(super) mod story;
mod told;
pub(super) mod weighed;
