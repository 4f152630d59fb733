use std::future::poll_fn;

use tokio::time;

use super::*;

/// How long a body is borne of which so many bytes come every `every`, at most `limit`.
async fn borne(pace: &mut Pace, bytes: u64, every: Duration, limit: Duration) -> Duration {
    let started = Instant::now();
    while started.elapsed() < limit {
        if time::timeout(every, poll_fn(|cx| pace.poll_late(cx))).await.is_ok() {
            break;
        }
        pace.came(bytes);
    }
    started.elapsed()
}

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn a_body_that_dribbles_is_late_whatever_its_bytes() {
    let late = borne(&mut Pace::new(), 1, SECOND, HOUR).await;
    assert!(late >= GRACE && late <= GRACE + SECOND, "{late:?}");
    let late = borne(&mut Pace::new(), SLOWEST / 2, SECOND, HOUR).await;
    assert!(late >= GRACE * 2 - SECOND && late <= GRACE * 2 + SECOND, "half the pace lasts twice as long: {late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_is_borne_for_as_long_as_it_comes() {
    assert!(borne(&mut Pace::new(), SLOWEST, SECOND, HOUR).await >= HOUR);
    let five = SECOND * 5;
    assert!(borne(&mut Pace::new(), 5 * SLOWEST, five, HOUR).await >= HOUR, "in bursts too");
}

#[tokio::test(start_paused = true)]
async fn fast_bytes_do_not_pay_for_a_long_silence_later() {
    let mut pace = Pace::new();
    for _ in 0..100 {
        assert!(time::timeout(SECOND, poll_fn(|cx| pace.poll_late(cx))).await.is_err());
        pace.came(10 << 20);
    }
    assert_eq!(borne(&mut pace, 0, HOUR, HOUR).await, GRACE);
}
