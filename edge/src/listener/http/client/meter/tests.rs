use std::time::Duration;

use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

struct Client {
    meter: Meter,
    now: Instant,
}

impl Client {
    fn new() -> Self {
        Self { meter: Meter::new(0), now: Instant::now() }
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<(), Abuse> {
        self.meter.asked(self.now, &frame(kind, flags, stream, payload))
    }

    fn open(&mut self, stream: u32) -> Result<(), Abuse> {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, b"head")
    }

    fn reset(&mut self, stream: u32) -> Result<(), Abuse> {
        self.send(RESET, 0, stream, &8_u32.to_be_bytes())
    }

    fn is_answered(&mut self, kind: u8, stream: u32, payload: &[u8]) -> Result<(), Abuse> {
        self.meter.answered(&frame(kind, END_HEADERS, stream, payload))
    }

    /// How many of the same pass in one second.
    fn passing(&mut self, most: u32, mut each: impl FnMut(&mut Self) -> Result<(), Abuse>) -> (u32, Abuse) {
        for passed in 0..most {
            if let Err(abuse) = each(self) {
                return (passed, abuse);
            }
        }
        panic!("{most} passed")
    }
}

fn odd(number: u32) -> u32 {
    2 * number + 1
}

#[test]
fn frames_that_cost_nothing_to_send_are_bounded_in_a_second() {
    let check = |kind, payload: &[u8], limit, abuse| {
        let mut client = Client::new();
        for _ in 0..3 {
            assert!((0..limit).all(|_| client.send(kind, 0, 0, payload).is_ok()), "{abuse}");
            client.now += Duration::from_secs(1);
        }
        assert_eq!(client.passing(10_000, |c| c.send(kind, 0, 0, payload)), (limit, abuse));
    };
    check(PING, &[0; 8], PINGS_PER_SECOND, Abuse::Pings);
    check(SETTINGS, &[], SETTINGS_PER_SECOND, Abuse::Settings);
    check(DATA, &[], EMPTY_DATA_PER_SECOND, Abuse::EmptyData);
    check(UPDATE, &[0; 4], UPDATES_PER_SECOND, Abuse::WindowUpdates);
}

#[test]
fn a_client_that_is_sent_data_may_say_more() {
    let mut client = Client::new();
    for _ in 0..200 {
        client.is_answered(DATA, 1, b"data").expect("no abuse");
    }
    let all = (0..4000).map(|_| client.send(UPDATE, 0, 1, &[0; 4])).chain([]).collect::<Result<(), Abuse>>();
    assert_eq!(all, Ok(()));
    assert!((0..200).all(|_| client.send(PING, 0, 0, &[0; 8]).is_ok()));
    assert_eq!(client.passing(10_000, |c| c.send(UPDATE, 0, 1, &[0; 4])), (UPDATES_PER_SECOND, Abuse::WindowUpdates));
}

#[test]
fn data_and_an_empty_end_are_not_empty_data() {
    let mut client = Client::new();
    assert!((0..1000).all(|n| client.send(DATA, 0, odd(n), b"x").is_ok()));
    assert!((0..1000).all(|n| client.send(DATA, END_STREAM, odd(n), b"").is_ok()));
}

#[test]
fn rapid_resets_before_the_answer_are_bounded_for_life() {
    let mut client = Client::new();
    let mut next = 0;
    let passed = client.passing(1000, |client| {
        next += 1;
        client.now += Duration::from_secs(10);
        client.open(odd(next))?;
        client.reset(odd(next))
    });
    assert_eq!(passed, (EARLY_RESETS_MAX, Abuse::EarlyResets));
}

#[test]
fn each_answer_pays_for_one_early_reset() {
    let mut client = Client::new();
    for number in 0..1000 {
        client.now += Duration::from_secs(1);
        client.open(odd(2 * number)).expect("no abuse");
        client.is_answered(HEADERS, odd(2 * number), b"").expect("no abuse");
        client.open(odd(2 * number + 1)).expect("no abuse");
        client.reset(odd(2 * number + 1)).expect("no abuse");
    }
}

#[test]
fn resets_of_answered_streams_are_bounded_in_a_second_and_for_life() {
    let answered_and_reset = |client: &mut Client, number| {
        client.open(odd(number))?;
        client.is_answered(HEADERS, odd(number), b"")?;
        client.reset(odd(number))
    };
    let (mut client, mut next) = (Client::new(), 0);
    let passed = client.passing(1000, |client| {
        next += 1;
        answered_and_reset(client, next)
    });
    assert_eq!(passed, (RESETS_PER_SECOND, Abuse::Resets));

    let (mut client, mut next) = (Client::new(), 0);
    let passed = client.passing(20_000, |client| {
        next += 1;
        client.now += Duration::from_secs(1);
        answered_and_reset(client, next)
    });
    assert_eq!(passed, (RESETS_MAX, Abuse::Resets));
}

#[test]
fn resets_the_edge_is_made_to_send_are_bounded_unless_the_client_is_blameless() {
    let (mut client, mut next) = (Client::new(), 0);
    let provoked = client.passing(1000, |client| {
        next += 1;
        client.open(odd(next))?;
        client.is_answered(RESET, odd(next), &1_u32.to_be_bytes())
    });
    assert_eq!(provoked, (PROVOKED_RESETS_MAX, Abuse::ProvokedResets));
    let mut client = Client::new();
    for code in [0_u32, 2, 8].into_iter().cycle().take(3000) {
        client.is_answered(RESET, 1, &code.to_be_bytes()).expect("no abuse");
    }
}

#[test]
fn heads_are_bounded_in_frames_and_bytes() {
    let mut client = Client::new();
    client.send(HEADERS, END_STREAM, 1, b"x").expect("no abuse");
    assert_eq!(client.passing(100, |c| c.send(CONTINUATION, 0, 1, b"")), (CONTINUATIONS_MAX, Abuse::Continuations));
    let mut client = Client::new();
    client.send(HEADERS, END_STREAM, 1, &[0; 16_384]).expect("no abuse");
    assert_eq!(client.passing(100, |c| c.send(CONTINUATION, 0, 1, &[0; 16_384])), (3, Abuse::HeadBytes));
}

#[test]
fn a_head_is_open_until_its_last_byte() {
    let mut client = Client::new();
    assert_eq!(client.meter.open_head(), Some(0), "the first is awaited from the beginning");
    client.send(SETTINGS, 0, 0, b"").expect("no abuse");
    assert_eq!(client.meter.open_head(), None);
    client.send(HEADERS, 0, 1, b"x").expect("no abuse");
    assert_eq!(client.meter.open_head(), Some(0));
    client.send(CONTINUATION, END_HEADERS, 1, b"x").expect("no abuse");
    assert_eq!((client.meter.open_head(), client.meter.progress()), (None, 1));
    let whole = frame(HEADERS, END_HEADERS, 3, b"12345");
    client.meter.asked(client.now, &whole[..whole.len() - 1]).expect("no abuse");
    assert!(client.meter.open_head().is_some());
    client.meter.asked(client.now, &whole[whole.len() - 1..]).expect("no abuse");
    assert_eq!((client.meter.open_head(), client.meter.last_stream()), (None, 3));
}

#[test]
fn streams_without_an_answer_are_bounded_and_answers_make_room() {
    let (mut client, mut next) = (Client::new(), 0);
    let mut open = |client: &mut Client| {
        next += 1;
        client.open(odd(next))
    };
    assert_eq!(client.passing(1000, &mut open), (256, Abuse::Streams));
    let mut client = Client::new();
    for number in 0..10_000 {
        client.open(odd(number)).expect("no abuse");
        client.is_answered(HEADERS, odd(number), b"").expect("no abuse");
    }
}

#[test]
fn frames_that_move_nothing_are_bounded_by_streams() {
    let mut client = Client::new();
    assert_eq!(client.passing(1000, |c| c.send(PRIORITY, 0, 1, &[0; 5])), (IDLE_PER_STREAM, Abuse::IdleFrames));
    let mut client = Client::new();
    client.open(1).expect("no abuse");
    assert_eq!(client.passing(1000, |c| c.send(0x10, 0, 0, b"")), (2 * IDLE_PER_STREAM, Abuse::IdleFrames));
}

#[test]
fn the_edges_own_frame_waits_for_the_end_of_another() {
    let mut meter = Meter::new(0);
    let answer = frame(DATA, 0, 1, b"12345");
    meter.answered(&answer[..answer.len() - 1]).expect("no abuse");
    assert!(!meter.is_between_answers());
    meter.answered(&answer[answer.len() - 1..]).expect("no abuse");
    assert!(meter.is_between_answers());
}

#[test]
fn requests_and_what_is_taken_of_answers_are_progress_and_crumbs_are_not() {
    let mut client = Client::new();
    client.open(1).expect("no abuse");
    assert_eq!(client.meter.progress(), 1);
    for _ in 0..16 {
        client.is_answered(DATA, 1, &[0; 1023]).expect("no abuse");
    }
    assert_eq!(client.meter.progress(), 1);
    client.is_answered(DATA, 1, &[0; 16]).expect("no abuse");
    assert_eq!(client.meter.progress(), 2);
}
