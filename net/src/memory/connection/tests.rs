use proptest::prelude::*;

use super::{Side::*, *};

fn write(connection: &mut Connection, side: Side, bytes: &[u8]) -> io::Result<usize> {
    connection.write(side, &[IoSlice::new(bytes)])
}

fn read(connection: &mut Connection, side: Side) -> Result<Vec<u8>, io::ErrorKind> {
    let mut bytes = Vec::with_capacity(1024);
    connection.read(side, &mut bytes).map(|_| bytes).map_err(|e| e.kind())
}

/// Everything there is to read, and how it ends.
fn read_all(connection: &mut Connection, side: Side) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut all = Vec::new();
    loop {
        match read(connection, side) {
            Ok(bytes) if bytes.is_empty() => return (all, None),
            Ok(bytes) => all.extend(bytes),
            Err(error) => return (all, Some(error)),
        }
    }
}

const NOTHING_YET: Option<io::ErrorKind> = Some(io::ErrorKind::WouldBlock);
const RESET: Option<io::ErrorKind> = Some(io::ErrorKind::ConnectionReset);
const END: Option<io::ErrorKind> = None;

#[test]
fn each_direction_ends_alone() {
    let mut c = Connection::default();
    write(&mut c, Dialler, b"ask").expect("room");
    c.finish(Dialler);
    assert_eq!(read_all(&mut c, Listener), (b"ask".to_vec(), END));
    assert_eq!(read_all(&mut c, Dialler), (vec![], NOTHING_YET));
    write(&mut c, Listener, b"answer").expect("room");
    assert_eq!(read_all(&mut c, Dialler), (b"answer".to_vec(), NOTHING_YET));
    assert!(!c.readiness(Listener).broken);
    c.finish(Listener);
    assert_eq!(read_all(&mut c, Dialler), (vec![], END));
    assert_eq!(write(&mut c, Dialler, b"more").map_err(|e| e.kind()), Err(io::ErrorKind::BrokenPipe));
    assert!(c.readiness(Listener).broken, "ended both ways");
}

#[test]
fn a_reset_leaves_what_has_arrived_to_be_read() {
    let mut c = Connection::default();
    write(&mut c, Dialler, b"last words").expect("room");
    c.abort(Dialler);
    assert!(c.readiness(Listener).broken);
    assert_eq!(read_all(&mut c, Listener), (b"last words".to_vec(), RESET));
    assert_eq!(write(&mut c, Listener, b"hello?").map_err(|e| e.kind()), Err(io::ErrorKind::ConnectionReset));
}

#[test]
fn a_reset_after_the_end_shows_only_on_writes() {
    let mut c = Connection::default();
    c.finish(Dialler);
    assert!(!c.readiness(Listener).broken);
    c.abort(Dialler);
    assert!(c.readiness(Listener).broken);
    assert_eq!(read_all(&mut c, Listener), (vec![], END));
    assert!(write(&mut c, Listener, b"x").is_err());
}

#[test]
fn a_reset_loses_what_was_not_sent_yet() {
    let mut c = Connection::default();
    let much = vec![7; ARRIVED_MAX + 1000];
    let mut written = 0;
    while written < much.len() {
        written += write(&mut c, Dialler, &much[written..]).expect("room");
    }
    assert!(!c.readiness(Dialler).sent);
    c.abort(Dialler);
    let (read, end) = read_all(&mut c, Listener);
    assert_eq!((read.len(), end), (ARRIVED_MAX, RESET));
}

#[test]
fn a_close_delivers_what_was_written_and_answers_what_comes_later_with_a_reset() {
    let mut c = Connection::default();
    write(&mut c, Dialler, b"bye").expect("room");
    c.close(Dialler);
    assert_eq!(read_all(&mut c, Listener), (b"bye".to_vec(), END));
    assert_eq!(write(&mut c, Listener, b"too late").map_err(|e| e.kind()), Ok(8), "the kernel does not know yet");
    assert!(c.readiness(Listener).broken && write(&mut c, Listener, b"x").is_err());
}

#[test]
fn a_close_with_something_unread_is_a_reset() {
    let mut c = Connection::default();
    write(&mut c, Dialler, b"unread").expect("room");
    write(&mut c, Listener, b"said").expect("room");
    c.close(Listener);
    assert_eq!(read_all(&mut c, Dialler), (b"said".to_vec(), RESET));
}

#[test]
fn buffers_are_bounded_and_reading_makes_room() {
    let mut c = Connection::default();
    let block = vec![1; 10_000];
    let mut written = 0;
    while let Ok(more) = write(&mut c, Dialler, &block) {
        written += more;
    }
    assert_eq!(written, ARRIVED_MAX + UNSENT_MAX);
    assert!(!c.readiness(Dialler).writable);
    read(&mut c, Listener).expect("arrived");
    assert!(c.readiness(Dialler).writable);
    c.finish(Dialler);
    let (read, end) = read_all(&mut c, Listener);
    assert_eq!((read.len(), end), (written - 1024, END), "the end comes behind the last byte");
}

#[test]
fn what_is_held_arrives_once_it_is_released() {
    let mut c = Connection::default();
    write(&mut c, Dialler, b"before ").expect("room");
    c.hold(Dialler);
    write(&mut c, Dialler, b"during").expect("room");
    c.finish(Dialler);
    assert_eq!(read_all(&mut c, Listener), (b"before ".to_vec(), NOTHING_YET));
    assert!(!c.readiness(Dialler).sent);
    write(&mut c, Listener, b"the other way is open").expect("room");
    assert_eq!(read_all(&mut c, Dialler).0, b"the other way is open");
    c.release(Dialler);
    assert_eq!(read_all(&mut c, Listener), (b"during".to_vec(), END));
    assert!(c.readiness(Dialler).sent);
}

#[test]
fn a_reset_that_is_held_is_not_seen_until_it_is_released() {
    let mut c = Connection::default();
    c.hold(Dialler);
    c.abort(Dialler);
    assert_eq!(read_all(&mut c, Listener), (vec![], NOTHING_YET));
    write(&mut c, Listener, b"anyone there?").expect("nobody has said otherwise");
    c.release(Dialler);
    assert_eq!(read_all(&mut c, Listener), (vec![], RESET));
}

#[derive(Debug, Clone)]
enum Step {
    Write(Side, usize),
    Read(Side, usize),
    Finish(Side),
    Hold(Side),
    Release(Side),
    Close(Side),
}

fn step() -> impl Strategy<Value = Step> {
    let side = || prop_oneof![Just(Dialler), Just(Listener)];
    prop_oneof![
        8 => (side(), 0..70_000_usize).prop_map(|(s, n)| Step::Write(s, n)),
        8 => (side(), 1..70_000_usize).prop_map(|(s, n)| Step::Read(s, n)),
        1 => side().prop_map(Step::Finish),
        1 => side().prop_map(Step::Hold),
        2 => side().prop_map(Step::Release),
        1 => side().prop_map(Step::Close),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Bytes come out as they went in, none twice, none missing before the end; and an end that says it is ready is.
    #[test]
    fn nothing_is_lost_doubled_or_out_of_order(steps in proptest::collection::vec(step(), 1..60)) {
        let mut c = Connection::default();
        let (mut written, mut read_so_far, mut held) = ([0_usize; 2], [0_usize; 2], [false; 2]);
        let (mut finished, mut gone) = ([false; 2], [false; 2]);
        for step in steps {
            match step {
                Step::Write(side, length) if !gone[side as usize] => {
                    let total = &mut written[side as usize];
                    let bytes: Vec<u8> = (*total..*total + length).map(|n| (n % 251) as u8).collect();
                    let ready = c.readiness(side);
                    match write(&mut c, side, &bytes) {
                        Ok(taken) => *total += taken,
                        Err(e) => prop_assert_eq!(ready.writable, e.kind() != io::ErrorKind::WouldBlock),
                    }
                }
                Step::Read(side, length) if !gone[side as usize] => {
                    let ready = c.readiness(side).readable;
                    let (from, mut bytes) = (side.other() as usize, Vec::with_capacity(length));
                    match c.read(side, &mut bytes) {
                        Ok(count) => {
                            let start = read_so_far[from];
                            let right = (start..start + count).map(|n| (n % 251) as u8);
                            prop_assert!(bytes.iter().copied().eq(right));
                            read_so_far[from] += count;
                            prop_assert!(read_so_far[from] <= written[from]);
                            if count == 0 {
                                prop_assert!(finished[from] && read_so_far[from] == written[from]);
                            }
                        }
                        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                            prop_assert!(!ready && (held[from] || read_so_far[from] == written[from]));
                        }
                        Err(e) => prop_assert!(gone[from], "{e}"),
                    }
                }
                Step::Finish(side) if !gone[side as usize] => {
                    finished[side as usize] = true;
                    c.finish(side);
                }
                Step::Hold(side) => {
                    held[side as usize] = true;
                    c.hold(side);
                }
                Step::Release(side) => {
                    held[side as usize] = false;
                    c.release(side);
                }
                Step::Close(side) if !gone[side as usize] => {
                    (finished[side as usize], gone[side as usize]) = (true, true);
                    c.close(side);
                }
                Step::Write(..) | Step::Read(..) | Step::Finish(_) | Step::Close(_) => {}
            }
            for side in Side::BOTH {
                let direction = &c.directions[side as usize];
                prop_assert!(direction.arrived <= ARRIVED_MAX && direction.unsent() <= UNSENT_MAX);
            }
        }
    }
}
