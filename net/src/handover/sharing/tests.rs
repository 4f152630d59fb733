use std::future::poll_fn;

use super::*;
use crate::handover::relay::pair;

/// Packets of which those with an even first byte are the other's.
#[tokio::test]
async fn packets_of_the_process_before_are_taken_out_of_what_the_kernel_joined() {
    let check = async |joined: &[u8], stride: usize, ours: &[u8], theirs: &[&[u8]]| {
        let (here, there) = pair().expect("a pair");
        let (sharing, there) = (Sharing::default(), Relay::new(there).expect("a runtime"));
        sharing.add_predecessor(7, here).expect("a runtime");
        let mut buffer = joined.to_vec();
        let mut meta = [RecvMeta { len: joined.len(), stride, ..RecvMeta::default() }];
        let generation: Generation = |packet| (packet[0] % 2 == 0).then_some(7);
        let left = sharing.sort(generation, (&mut [IoSliceMut::new(&mut buffer)], &mut meta));
        assert_eq!((left, &buffer[..meta[0].len]), (usize::from(!ours.is_empty()), ours));
        for expected in theirs {
            let (mut buffer, mut meta) = ([0; 16], RecvMeta::default());
            let came = poll_fn(|cx| there.poll_came(cx, &mut IoSliceMut::new(&mut buffer), &mut meta)).await;
            assert_eq!(came.expect("a pair"), Came::Packets);
            assert_eq!(&buffer[..meta.len], *expected);
        }
    };
    check(&[1, 10, 2, 20, 3, 30, 4], 2, &[1, 10, 3, 30], &[&[2, 20], &[4]]).await;
    check(&[2, 20, 4, 40, 5], 2, &[5], &[&[2, 20], &[4, 40]]).await;
    check(&[2, 20, 4], 2, &[], &[&[2, 20], &[4]]).await;
    check(&[1, 10, 3, 30], 2, &[1, 10, 3, 30], &[]).await;
}

#[tokio::test]
async fn packets_of_a_process_that_is_gone_are_ours() {
    let (here, there) = pair().expect("a pair");
    let sharing = Sharing::default();
    sharing.add_predecessor(7, here).expect("a runtime");
    drop(there);
    let (mut buffer, mut meta) = ([2, 20], [RecvMeta { len: 2, stride: 2, ..RecvMeta::default() }]);
    let generation: Generation = |_| Some(7);
    assert_eq!(sharing.sort(generation, (&mut [IoSliceMut::new(&mut buffer)], &mut meta)), 1);
    assert_eq!(meta[0].len, 2);
}

#[tokio::test]
async fn packets_of_a_process_that_nobody_knows_are_ours() {
    let (here, _there) = pair().expect("a pair");
    let sharing = Sharing::default();
    sharing.add_predecessor(7, here).expect("a runtime");
    let (mut buffer, mut meta) = ([2, 20], [RecvMeta { len: 2, stride: 2, ..RecvMeta::default() }]);
    assert_eq!(sharing.sort(|_| Some(8), (&mut [IoSliceMut::new(&mut buffer)], &mut meta)), 1);
}

#[tokio::test]
async fn what_was_read_before_another_took_over_goes_to_whom_it_is_for_after_that() {
    let (before, is_before) = pair().expect("a pair");
    let (after, is_after) = pair().expect("a pair");
    let sharing = Sharing::default();
    sharing.add_predecessor(7, before).expect("a runtime");
    sharing.set_successor(8, after).expect("a runtime");
    sharing.settle();
    // The first byte says the generation; zero says none.
    let generation: Generation = |packet| Some(packet[0]).filter(|of| *of != 0);
    let (mut buffer, mut meta) = ([7, 8, 9, 0], [RecvMeta { len: 4, stride: 1, ..RecvMeta::default() }]);
    assert_eq!(sharing.sort(generation, (&mut [IoSliceMut::new(&mut buffer)], &mut meta)), 1);
    assert_eq!(&buffer[..meta[0].len], [9]);
    for (end, expected) in [(is_before, &[7][..]), (is_after, &[8, 0])] {
        let relay = Relay::new(end).expect("a runtime");
        for expected in expected {
            let (mut buffer, mut meta) = ([1; 4], RecvMeta::default());
            let came = poll_fn(|cx| relay.poll_came(cx, &mut IoSliceMut::new(&mut buffer), &mut meta)).await;
            assert_eq!((came.expect("a pair"), &buffer[..meta.len]), (Came::Packets, &[*expected][..]));
        }
    }
}
