//! Nobody tells who was on what broke: flows that began before it left are excused.

use super::*;

const SITE_A: Network = Network("site A");
const SITE_B: Network = Network("site B");

const BOUNDS: Bounds =
    Bounds { gone: Gone::Nobody, cuts: Cuts::Whatever, leaves: Some(LINK_LEAVES), told: None, recovers: true };
/// Broken at 10 s, put right at 15 s, whole at 15.8 s.
const TIMES: Times = Times { at: ms(10_000), struck: ms(10_010), healed: Some(ms(15_000)), whole: Some(ms(15_800)) };

/// One span.
fn span(span: Range<u64>) -> Spans {
    Spans::from_iter([ms(span.start)..ms(span.end)])
}

fn sample(kind: Kind, span: Range<u64>) -> Sample {
    let (began, ended) = (ms(span.start), ms(span.end));
    Sample {
        kind,
        edge: 0,
        network: SITE_A,
        connection: opened(span.start),
        began,
        ended,
        placed: None,
        outcome: Outcome::Served,
        repeats: 0,
    }
}

fn failed(kind: Kind, span: Range<u64>) -> Sample {
    Sample { outcome: Outcome::Failed("reset".to_owned()), ..sample(kind, span) }
}

fn failures(findings: &Findings) -> usize {
    findings.total.failed + findings.total.cut
}

struct Play {
    bounds: Bounds,
    times: Times,
    stalls: Spans,
    crowded: Spans,
    clock: Clock,
    beside: Beside,
}

impl Default for Play {
    fn default() -> Self {
        let (stalls, crowded, beside) = Default::default();
        Self { bounds: BOUNDS, times: TIMES, stalls, crowded, clock: Clock::Trusted, beside }
    }
}

impl Play {
    fn judge(&self, samples: &[Sample]) -> Findings {
        // Somebody always asks something.
        let samples = [samples, &[sample(Kind::GetNew, 9_000..9_010)]].concat();
        let seen =
            Seen { samples: &samples, stalls: &self.stalls, crowded: &self.crowded, clock: self.clock, prompt: None };
        judge(&seen, &[Fault { bounds: self.bounds, times: self.times }], &self.beside)
    }

    fn broken(&self, samples: &[Sample]) -> Vec<Promise> {
        let mut broken: Vec<Promise> = self.judge(samples).broken.into_iter().map(|(promise, _)| promise).collect();
        broken.dedup();
        broken
    }
}

#[test]
fn a_fault_that_nobody_feels_breaks_nothing() {
    let findings = Play::default().judge(&[sample(Kind::Block, 9_990..10_200), sample(Kind::Post, 10_500..10_600)]);
    assert_eq!(findings.broken, []);
    assert_eq!((findings.total.requests, findings.total.blocks, failures(&findings)), (2, 1, 0));
    assert_eq!((findings.left, findings.recovered), (Some(ms(0)), Some(ms(800))));
}

#[test]
fn an_idempotent_request_may_not_fail_while_there_is_a_path() {
    for kind in [Kind::GetKept, Kind::GetNew, Kind::Question] {
        assert!(Play::default().broken(&[failed(kind, 9_990..10_100)]).contains(&Promise::Served), "{kind:?}");
    }
    let gone = Play { bounds: Bounds { gone: Gone::Edge(0), leaves: None, ..BOUNDS }, ..Play::default() };
    assert_eq!(gone.broken(&[failed(Kind::GetNew, 9_990..10_100), failed(Kind::Question, 14_000..16_900)]), []);
    let elsewhere = Sample { edge: 1, ..failed(Kind::GetNew, 12_000..12_100) };
    assert_eq!(gone.broken(&[elsewhere]), [Promise::Served]);
    let neighbour = Sample { network: SITE_B, ..failed(Kind::GetNew, 12_000..12_100) };
    let site = Play { bounds: Bounds { gone: Gone::Network(SITE_A), leaves: None, ..BOUNDS }, ..Play::default() };
    assert_eq!(site.broken(&[neighbour]), [Promise::Served]);
    let late = failed(Kind::GetNew, 17_100..17_200);
    assert!(site.broken(&[late]).contains(&Promise::Served), "it had to be back");
}

#[test]
fn what_was_on_the_broken_part_may_be_cut_until_it_has_left() {
    let play = Play::default();
    let cut = [failed(Kind::Block, 9_990..13_000), failed(Kind::Post, 11_000..11_100)];
    let findings = play.judge(&cut);
    assert_eq!((failures(&findings), findings.total.cut), (2, 2));
    assert_eq!(findings.broken, []);
    assert_eq!(play.broken(&[failed(Kind::Post, 11_500..11_600)]), [Promise::Left]);
    assert_eq!(play.broken(&[failed(Kind::Post, 15_100..15_200)]), [Promise::Recovered]);
    assert_eq!(play.broken(&[failed(Kind::Block, 9_000..9_900)]), [Promise::Left], "before the break nothing may fail");
    let polite = Play { bounds: Bounds { cuts: Cuts::Nothing, ..BOUNDS }, ..Play::default() };
    assert_eq!(polite.broken(&[failed(Kind::Block, 9_990..10_500)]), [Promise::Left]);
}

#[test]
fn a_wrong_answer_is_never_excused() {
    let wrong = Sample { outcome: Outcome::Wrong("x".to_owned()), ..sample(Kind::Post, 10_000..10_100) };
    let play = Play { bounds: Bounds { gone: Gone::Edge(0), ..BOUNDS }, clock: Clock::Busy, ..Play::default() };
    let findings = play.judge(&[wrong]);
    assert_eq!(findings.total.wrong, 1);
    assert_eq!(findings.broken.first().map(|(promise, _)| *promise), Some(Promise::Right));
}

#[test]
fn what_waits_after_the_bound_was_still_in_rotation() {
    let play = Play::default();
    let findings = play.judge(&[sample(Kind::GetNew, 10_900..11_700)]);
    assert_eq!((findings.left, findings.broken.len()), (Some(ms(900)), 0));
    assert_eq!(play.broken(&[sample(Kind::GetNew, 11_100..11_700)]), [Promise::Left]);
    assert_eq!(play.broken(&[sample(Kind::GetNew, 11_100..11_500)]), [], "400 ms are borne");
    assert_eq!(play.broken(&[sample(Kind::Transactions, 11_100..13_000)]), [], "they take their time");
}

#[test]
fn pauses_of_the_machine_are_taken_off_and_no_more() {
    let slow = [sample(Kind::GetNew, 11_100..11_700)];
    let paused = Play { stalls: span(11_200..11_350), ..Play::default() };
    assert_eq!(paused.broken(&slow), []);
    let elsewhere = Play { stalls: span(12_000..12_500), ..Play::default() };
    assert_eq!(elsewhere.broken(&slow), [Promise::Left]);
    let asleep = Play { stalls: span(10_100..10_400), ..Play::default() };
    assert_eq!(asleep.broken(&slow), [], "the edge slept as well before it could find out");
}

#[test]
fn all_has_to_be_back_in_time() {
    let late = Play { times: Times { whole: Some(ms(17_300)), ..TIMES }, ..Play::default() };
    assert_eq!(late.broken(&[]), [Promise::Recovered]);
    let clients = Play::default();
    assert_eq!(clients.judge(&[sample(Kind::GetNew, 15_900..16_600)]).recovered, Some(ms(1_600)));
    assert_eq!(clients.broken(&[sample(Kind::GetNew, 16_500..17_300)]), [Promise::Recovered]);
    let free = Play { bounds: Bounds { recovers: false, ..BOUNDS }, ..late };
    assert_eq!(free.broken(&[]), []);
}

#[test]
fn a_busy_machine_is_judged_by_outcomes() {
    let busy = |stalls| Play { clock: Clock::Busy, stalls, ..Play::default() };
    let late = Times { whole: Some(ms(24_000)), ..TIMES };
    let slow = [sample(Kind::GetNew, 12_000..13_500), failed(Kind::Post, 13_000..13_100)];
    assert_eq!(Play { times: late, ..busy(Spans::default()) }.broken(&slow), []);
    let lost = [failed(Kind::GetNew, 12_000..12_100)];
    assert_eq!(busy(Spans::default()).broken(&lost), [Promise::Served], "an idle machine has no excuse");
    assert_eq!(busy(span(10_500..11_500)).broken(&lost), []);
    let crowded = span(9_000..11_500);
    assert_eq!(Play { crowded: crowded.clone(), ..busy(Spans::default()) }.broken(&lost), []);
    assert!(!Play { crowded, ..Play::default() }.broken(&lost).is_empty(), "only where it is told so");
}

#[test]
fn what_happened_beside_the_clients_counts() {
    let words = || vec!["told".to_owned()];
    let beside = Beside { twice: words(), fat: words(), amiss: words() };
    let play = Play { beside, ..Play::default() };
    assert_eq!(play.broken(&[]), [Promise::Once, Promise::Memory, Promise::Alone]);
    let none = Spans::default();
    let seen = Seen { samples: &[], stalls: &none, crowded: &none, clock: Clock::Trusted, prompt: None };
    let fault = Fault { bounds: BOUNDS, times: TIMES };
    assert_eq!(judge(&seen, &[fault], &Beside::default()).broken.len(), 1, "nothing asked proves nothing");
}

#[test]
fn what_is_cut_is_told_so_in_time() {
    let soon = failed(Kind::Block, 9_900..10_400);
    let late = failed(Kind::Block, 9_900..10_600);
    let play = Play { bounds: Bounds { told: Some(GONE_TOLD), ..BOUNDS }, ..Play::default() };
    assert_eq!(play.judge(std::slice::from_ref(&soon)).told, Some(ms(400)));
    assert_eq!(play.broken(&[soon]), []);
    assert_eq!(play.broken(std::slice::from_ref(&late)), [Promise::Told]);
    assert_eq!(Play::default().broken(&[late]), [], "nobody promised");
}

#[test]
fn where_nothing_is_broken_nothing_is_excused() {
    let served = || sample(Kind::Connect, 1_000..1_300);
    let broken = |other: Sample, prompt| judge_whole(&[served(), other], prompt).broken;
    assert_eq!(broken(served(), Some(ms(300))), []);
    assert!(matches!(broken(served(), Some(ms(299)))[..], [(Promise::Prompt, _), (Promise::Prompt, _)]));
    assert!(matches!(broken(failed(Kind::Connect, 2_000..2_001), None)[..], [(Promise::Served, _)]));
    assert_eq!(judge_whole(&[], None).broken.len(), 1, "nothing is proved");
}
