use std::path::Path;

use net::handover::{Channel, Door};
use tempfile::TempDir;

use super::{successor::Predecessor, words::Word, *};

/// Somebody knocks at the door of a process, which lets him in.
async fn knocked(dir: &Path, opened: &Door) -> (tokio::task::JoinHandle<Option<Predecessor>>, Channel) {
    let dir = dir.to_owned();
    let meeting = async move { Predecessor::meet(Arc::default(), &dir).await.expect("nothing refuses it") };
    let meeting = tokio::spawn(meeting);
    let channel = opened.accept().await.expect("it knocks");
    let (word, _) = Word::hear(&channel, WORD_WAIT).await.expect("it speaks").expect("it speaks");
    assert!(matches!(word, Word::Hello { .. }), "{word:?}");
    (meeting, channel)
}

async fn met() -> (Predecessor, Channel, Door, TempDir) {
    let dir = tempfile::tempdir().expect("a folder");
    let opened = Door::open(&door(dir.path())).expect("a door");
    let (meeting, channel) = knocked(dir.path(), &opened).await;
    let sockets = Word::Sockets { generation: 255, sockets: Vec::new(), is_last: true };
    sockets.say(&channel, &[]).await.expect("it listens");
    let before = meeting.await.expect("no panic").expect("it is there");
    (before, channel, opened, dir)
}

#[tokio::test]
async fn a_process_that_takes_its_word_back_is_not_taken_for_gone() {
    let (before, channel, _opened, _dir) = met().await;
    assert_eq!(before.generation(), 0, "it is a byte");
    Word::Refused { why: "it took too long".to_owned() }.say(&channel, &[]).await.expect("it listens");
    drop(channel);
    let refused = before.ready().await;
    assert!(matches!(&refused, Err(HandoverError::Refused(why)) if why == "it took too long"), "{refused:?}");

    let (before, channel, _opened, _dir) = met().await;
    drop(channel);
    // It runs: it is this very one.
    assert!(matches!(before.reading().await, Err(HandoverError::GoesOn)));
    assert!(matches!(before.ready().await, Err(HandoverError::GoesOn)));
}

#[tokio::test]
async fn who_is_sent_away_by_the_end_of_another_hand_over_knocks_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let opened = Door::open(&door(dir.path())).expect("a door");
    let (meeting, channel) = knocked(dir.path(), &opened).await;
    let next = Door::open(&door(dir.path())).expect("a door in the place of the other");
    drop((channel, opened));
    let channel = next.accept().await.expect("it knocks");
    let sockets = Word::Sockets { generation: 1, sockets: Vec::new(), is_last: true };
    sockets.say(&channel, &[]).await.expect("it listens");
    assert_eq!(meeting.await.expect("no panic").map(|before| before.generation()), Some(2));
}

#[tokio::test]
async fn where_nobody_is_nobody_is_waited_for() {
    let dir = tempfile::tempdir().expect("a folder");
    let nobody = async || Predecessor::meet(Arc::default(), dir.path()).await.expect("nothing refuses it").is_none();
    assert!(nobody().await);
    drop(Door::open(&door(dir.path())).expect("a door"));
    assert!(nobody().await, "what is left of one is none");
}
