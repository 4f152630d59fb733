use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{
    datagram::Arena,
    error::CloseCode,
    pair::Pair,
    switch::{Drops, Switch},
};

const SOON: Duration = Duration::from_secs(10);

/// Both ends of a session over a real link, and who keeps the link alive.
struct Ends {
    edge: Session,
    connector: Session,
    _pair: Pair,
}

async fn ends() -> Ends {
    let pair = Pair::new().await;
    let (at_edge, at_connector) = (Arc::new(Switch::default()), Arc::new(Switch::default()));
    let inbox = at_edge.open();
    let other = at_connector.admit(inbox.session()).expect("free");
    tokio::spawn(at_edge.clone().run(pair.edge.clone(), Drops::default()));
    tokio::spawn(at_connector.clone().run(pair.connector.clone(), Drops::default()));
    let (edge, connector) = pair.stream().await;
    Ends {
        edge: Session::new(pair.edge.clone(), edge, inbox, []),
        connector: Session::new(pair.connector.clone(), connector, other, []),
        _pair: pair,
    }
}

/// Lets the sender's stream run until the other side has a payload or an end.
async fn pass(from: &mut Session, to: &mut Session) -> Event {
    let both = async {
        select! {
            event = to.next() => event,
            event = from.next() => panic!("the sender is sent nothing: {event:?}"),
        }
    };
    timeout(SOON, both).await.expect("it arrives soon")
}

#[tokio::test]
async fn payloads_of_every_size_arrive_whole() {
    let Ends { mut edge, mut connector, _pair } = ends().await;
    let mut arena = Arena::default();
    for size in [0, 1, 1191, 1192, 1193, 1452, 6_500, 8_192, PAYLOAD_MAX] {
        let payload = vec![u8::try_from(size % 251).expect("below 251"); size];
        edge.send(arena.copy(&payload)).expect("there is room");
        assert!(pass(&mut edge, &mut connector).await == Event::Payload(payload.clone().into()), "{size} up");
        connector.send(arena.copy(&payload)).expect("there is room");
        assert!(pass(&mut connector, &mut edge).await == Event::Payload(payload.into()), "{size} down");
    }
    assert_eq!((edge.missing(), connector.missing()), (0, 0));
}

#[tokio::test]
async fn the_end_of_a_session_is_told() {
    let Ends { edge, mut connector, _pair } = ends().await;
    edge.finish();
    assert_eq!(timeout(SOON, connector.next()).await, Ok(Event::Ended(SessionEnd::Finished)));

    let Ends { mut edge, connector, _pair } = ends().await;
    connector.cut(StreamCode::Unreachable);
    assert_eq!(timeout(SOON, edge.next()).await, Ok(Event::Ended(SessionEnd::Cut(StreamCode::Unreachable))));
}

#[tokio::test]
async fn a_dead_link_ends_the_session() {
    let Ends { mut edge, connector, _pair } = ends().await;
    connector.connection.close(CloseCode::Done, "");
    assert_eq!(timeout(SOON, edge.next()).await, Ok(Event::Ended(SessionEnd::LinkLost)));
    assert_eq!(edge.send(Arena::default().copy(b"late")), Err(Dropped::LinkLost));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_not_what_waits_already() {
    let Ends { mut edge, mut connector, _pair } = ends().await;
    let mut arena = Arena::default();
    let mut sent = 0;
    while edge.send(arena.copy(&[7; PAYLOAD_MAX])).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, SESSION_BACKLOG_MAX / (PAYLOAD_MAX + FRAME_HEAD));
    for _ in 0..sent {
        assert!(matches!(pass(&mut edge, &mut connector).await, Event::Payload(p) if p.len() == PAYLOAD_MAX));
    }
    let small = || [7; 1_000];
    let mut queued = 0;
    let why = loop {
        match edge.send(arena.copy(&small())) {
            Ok(()) => queued += 1,
            Err(why) => break why,
        }
    };
    assert_eq!(why, Dropped::BufferFull);
    assert!(queued > 1_000, "{queued} fill the buffer");
}

#[test]
fn only_what_never_comes_is_missing() {
    let missing = |sequences: &[u32]| {
        let mut gaps = Gaps::default();
        sequences.iter().for_each(|sequence| gaps.note(*sequence));
        gaps.missing
    };
    assert_eq!(missing(&[0, 1, 2, 3]), 0);
    assert_eq!(missing(&[0, 3]), 2);
    assert_eq!(missing(&[1, 0, 2]), 0, "overtaken");
    let mut gaps = Gaps { expected: u32::MAX, missing: 0 };
    [u32::MAX, 0, 1].iter().for_each(|sequence| gaps.note(*sequence));
    assert_eq!(gaps.missing, 0, "numbers wrap around");
}
