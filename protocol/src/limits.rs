//! Every bound of the wire and of a link, by name.

use std::time::Duration;

/// Longest body of a control frame, bytes. A longer one closes the link.
pub const CONTROL_BODY_MAX: usize = 64 * 1024;
/// Longest body of a stream header or reply, bytes.
pub const HEADER_BODY_MAX: usize = 1024;
/// Most routes one registration may claim.
pub const ROUTES_MAX: usize = 512;
/// Longest VNet name or CIDR of a claim, bytes; no valid one is longer.
pub const CLAIM_TEXT_MAX: usize = 64;
/// Most links a replica may keep to one edge, stand-ins not counted.
pub const LINKS_MAX: u16 = 64;
/// Longest certificate or request for one, bytes; post-quantum keys and signatures fit.
pub const DER_MAX: usize = 16 * 1024;
/// Longest host name of a target, bytes (RFC 1035 section 2.3.4).
pub const HOST_NAME_MAX: usize = 253;
/// Longest text for people in a message, bytes; explanations that are longer are cut.
pub const TEXT_MAX: usize = 256;

/// Client bytes that may travel before the reply to an open, and are kept for placing again.
pub const FIRST_BYTES_MAX: usize = 16 * 1024;

/// How often an idle link proves itself.
pub const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// A link with packets unanswered for this long is dead.
pub const DEAD_AFTER: Duration = Duration::from_secs(3);
/// QUIC itself gives up a connection that brings nothing for this long, without a word. That is later than [`DEAD_AFTER`] and
/// an idle look: packets may still pass the other way, and whoever finds a link dead says so.
pub const IDLE_AFTER: Duration = Duration::from_secs(4);
/// A link with packets unanswered for this long, or four round trips if those are longer, is dead if its peer's host has
/// said since the last answer that nobody listens there. Long enough for a peer that is there, and forged words about it.
pub const GONE_AFTER: Duration = Duration::from_millis(200);
/// A link with packets unanswered for this long, or four round trips if those are longer, is suspect.
pub const SUSPECT_AFTER: Duration = Duration::from_millis(300);

/// Streams an edge may have open on one link.
pub const STREAMS_MAX: u32 = 16_384;
/// Streams it may have open at first. QUIC makes room for each stream when it is allowed, not when it is opened: 16,384
/// cost about 1.4 MiB, and processor time with every dial, even one that becomes no link.
pub const STREAMS_FIRST: u32 = 256;
/// How long an open waits for a connector to allow more streams, or four round trips if those are longer.
pub const CREDIT_WAIT: Duration = Duration::from_millis(250);
/// Streams a connector may have open on one link: the control stream. Another would be kept, and read by nobody.
pub const CONNECTOR_STREAMS_MAX: u32 = 1;
/// Bytes one stream may have in flight towards a reader: 335 Mbit/s at 100 ms. A flow's own window grows up to it.
pub const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes all streams of a link may have in flight towards their readers; memory bound of a link, whatever its peer does.
pub const LINK_WINDOW: u32 = 192 * 1024 * 1024;
/// Bytes of a flow that may be on their way before its reader has said anything.
pub const FLOW_WINDOW: u32 = 128 * 1024;
/// What a flow's window shrinks to where many wait for their readers.
pub const FLOW_WINDOW_MIN: u32 = 16 * 1024;
/// Bytes a flow's reader must have taken before its window grows: sockets swallow as much of what nobody reads.
pub const FLOW_PROVEN: u64 = 384 * 1024;
/// What flows may hold of a link whose readers do not take it; beyond, the worst is reset. The rest of the window is for
/// those who read, for opens, probes and the control stream.
pub const HELD_MAX: u64 = 128 * 1024 * 1024;
/// By how much all windows of a link together may have grown; one source may have half of it.
pub const GROWN_MAX: u64 = 32 * 1024 * 1024;
/// Bytes an edge takes from a peer that has not registered yet, all its streams together: room for the longest message.
pub const STRANGER_WINDOW: u32 = 128 * 1024;
/// Bytes a link may have sent and not yet seen acknowledged.
pub const SEND_WINDOW: u64 = 32 * 1024 * 1024;
/// A flow that has not taken half of its window for this long may be reset when what flows hold of the link runs short.
pub const SLOW_AFTER: Duration = Duration::from_secs(1);
/// The same for a flow that holds more than its first window, when windows of others cannot grow.
pub const STALL_AFTER: Duration = Duration::from_secs(5);
/// Windows told in one message.
pub const WINDOWS_MAX: usize = 1_024;

/// A stream's header must be whole within this time of the stream's first byte.
pub const HEADER_WAIT: Duration = Duration::from_secs(5);
/// A registration, enrolment or renewal must be whole within this time.
pub const REGISTER_WAIT: Duration = Duration::from_secs(5);
/// A peer that has not taken a control message within this time is deaf, and is cut off.
pub const HEARD_WAIT: Duration = Duration::from_secs(5);
/// Longest time an edge may ask a connector to spend on one dial.
pub const DIAL_WAIT_MAX: Duration = Duration::from_secs(60);
/// After a reset, how long the last bytes may take where the reader takes nothing.
pub const LAST_BYTES_WAIT: Duration = Duration::from_secs(5);
/// After a reset, how far the stop code is sent ahead of the end of data, or four round trips if those are longer.
pub const RESET_LEAD: Duration = Duration::from_millis(100);
/// How often a link's liveness is looked at while something is on its way.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A connector from which nothing has come for this long, although the link carries flows, is asked for a sign of life, so that
/// its host can say that it is gone.
pub const QUIET_CONNECTOR: Duration = Duration::from_millis(100);
/// The same of an edge. Longer than it takes an edge to ask, so that on a live link only one side does.
pub const QUIET_EDGE: Duration = Duration::from_millis(250);
/// How often it is looked at while nothing is: looks are most of what an idle link costs.
pub const LOOK_IDLE: Duration = Duration::from_millis(250);
/// An open without a reply for this long, or four round trips, makes the edge ask the link for a sign of life: the
/// connector may have died after it acknowledged the open.
pub const NUDGE_AFTER: Duration = Duration::from_millis(100);

/// Datagrams of one UDP session that may wait to be taken.
pub const SESSION_QUEUE_MAX: usize = 512;
/// Payloads of a UDP session that may travel before the reply to its open, and are kept for placing again.
pub const EARLY_PAYLOADS_MAX: usize = 32;
/// Their bytes, heads included: room for the largest payload.
pub const EARLY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of one UDP session that may wait for its stream: payloads too large for a datagram.
pub const SESSION_BACKLOG_MAX: usize = 256 * 1024;
/// Longest silence after which a connector may be asked to end a UDP session.
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(30 * 86_400);
