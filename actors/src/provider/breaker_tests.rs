//! When it opens, what goes through, and what closes it; and over several nodes: never two probes in an interval.

use proptest::prelude::*;

use super::*;

const INTERVAL: Duration = Duration::from_secs(30);

fn reason(code: &str) -> ReasonCode {
    ReasonCode::new(code)
}

fn outage(retry_after: Option<u64>) -> Verdict {
    Verdict::Outage {
        reason: reason("http_503"),
        retry_after: retry_after.map(Duration::from_secs),
    }
}

fn account(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn opened(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(INTERVAL);
    breaker.ended(
        now,
        false,
        Some(account(1)),
        Verdict::Operator(reason("invalid_client")),
    );
    breaker
}

#[tokio::test(start_paused = true)]
async fn an_operators_fault_opens_it_at_once_and_is_news_once() {
    let now = Instant::now();
    let mut breaker = Breaker::new(INTERVAL);
    assert_eq!(breaker.admission(now), Admission::Go);
    let fault = || Verdict::Operator(reason("invalid_client"));
    assert!(matches!(
        breaker.ended(now, false, Some(account(1)), fault()),
        Some(News::Opened { .. })
    ));
    assert_eq!(breaker.ended(now, false, Some(account(2)), fault()), None);
    let cause = OpenCause::Operator(reason("invalid_client"));
    assert_eq!(breaker.admission(now), Admission::Wait(cause, INTERVAL));
}

#[tokio::test(start_paused = true)]
async fn one_probe_goes_out_and_a_good_answer_closes_it() {
    let now = Instant::now();
    let mut breaker = opened(now);
    let later = now + INTERVAL;
    assert_eq!(breaker.admission(later), Admission::Claim);
    breaker.probe_won(later);
    assert_eq!(breaker.admission(later), Admission::Probe);
    breaker.probe_sent();
    assert_eq!(breaker.admission(later), Admission::AwaitProbe);
    assert_eq!(
        breaker.ended(later, true, Some(account(1)), Verdict::Answered),
        Some(News::Closed)
    );
    assert_eq!(breaker.admission(later), Admission::Go);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_began_before_it_opened_does_not_close_it() {
    let now = Instant::now();
    let mut breaker = opened(now);
    assert_eq!(
        breaker.ended(now, false, Some(account(2)), Verdict::Answered),
        None
    );
    assert!(matches!(breaker.admission(now), Admission::Wait(..)));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_was_not_made_is_the_next_ones_for_a_moment() {
    let now = Instant::now();
    let mut breaker = opened(now);
    let later = now + INTERVAL;
    breaker.probe_won(later);
    breaker.probe_sent();
    breaker.probe_returned();
    assert_eq!(breaker.admission(later), Admission::Probe);
    assert!(matches!(
        breaker.admission(later + UNUSED_MAX),
        Admission::Wait(..)
    ));
    assert_eq!(breaker.admission(later + INTERVAL), Admission::Claim);
}

#[tokio::test(start_paused = true)]
async fn a_single_outage_is_weather_and_a_run_of_them_opens_it() {
    let now = Instant::now();
    let mut breaker = Breaker::new(INTERVAL);
    for n in 1..u128::from(OUTAGES_MAX) {
        assert_eq!(breaker.ended(now, false, Some(account(n)), outage(None)), None);
        assert_eq!(breaker.admission(now), Admission::Go);
    }
    assert!(matches!(
        breaker.ended(now, false, Some(account(99)), outage(None)),
        Some(News::Opened { cause: OpenCause::Outage(_), hold }) if hold == INTERVAL
    ));
}

#[tokio::test(start_paused = true)]
async fn reading_that_nobody_else_opened_it_does_not_forget_the_run() {
    let now = Instant::now();
    let mut breaker = Breaker::new(INTERVAL);
    for n in 1..u128::from(OUTAGES_MAX) {
        breaker.ended(now, false, Some(account(n)), outage(None));
        assert!(!breaker.adopt(now, None));
    }
    assert!(
        breaker
            .ended(now, false, Some(account(99)), outage(None))
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn one_account_that_always_fails_takes_longer_to_stop_the_others() {
    let now = Instant::now();
    let mut breaker = Breaker::new(INTERVAL);
    for _ in 1..OUTAGES_OF_ONE_MAX {
        assert_eq!(breaker.ended(now, false, Some(account(1)), outage(None)), None);
    }
    assert!(
        breaker
            .ended(now, false, Some(account(1)), outage(None))
            .is_some()
    );
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_at_once_to_the_moment_and_never_undercut() {
    let now = Instant::now();
    let mut breaker = Breaker::new(INTERVAL);
    breaker.ended(now, false, Some(account(1)), outage(Some(120)));
    assert!(matches!(
        breaker.admission(now + Duration::from_secs(119)),
        Admission::Wait(..)
    ));
    // A later word may only add to it.
    breaker.ended(now, false, Some(account(2)), outage(Some(60)));
    assert!(matches!(
        breaker.admission(now + Duration::from_secs(119)),
        Admission::Wait(..)
    ));
    breaker.ended(now, false, Some(account(3)), outage(Some(180)));
    assert!(matches!(
        breaker.admission(now + Duration::from_secs(179)),
        Admission::Wait(..)
    ));
    assert_eq!(
        breaker.admission(now + Duration::from_secs(180)),
        Admission::Claim
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_does_not_mend_the_operators_fault() {
    let now = Instant::now();
    let mut breaker = opened(now);
    breaker.probe_won(now + INTERVAL);
    breaker.probe_sent();
    breaker.ended(now + INTERVAL, true, Some(account(1)), outage(None));
    assert!(breaker.is_operators());
}

/// What happens at a node.
#[derive(Debug, Clone)]
enum Event {
    /// Somebody wants to call.
    Wants,
    /// The oldest call under way ends like this; `None`: it was not made after all.
    Ends(Option<Verdict>),
    /// It reads the shared row.
    Looks,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Wants),
        1 => Just(Event::Looks),
        1 => Just(Event::Ends(None)),
        1 => Just(Event::Ends(Some(Verdict::Answered))),
        2 => Just(Event::Ends(Some(outage(None)))),
        1 => (1_u64..100).prop_map(|wait| Event::Ends(Some(outage(Some(wait))))),
        1 => Just(Event::Ends(Some(Verdict::Operator(reason("invalid_client"))))),
    ]
}

/// The shared row, as the port promises it.
#[derive(Default)]
struct Shared {
    open: Option<(OpenCause, Instant, Instant)>,
}

impl Shared {
    fn seen(&self, now: Instant) -> Option<Seen> {
        self.open.as_ref().map(|(cause, since, probe_at)| Seen {
            cause: cause.clone(),
            open_for: now.saturating_duration_since(*since),
            probe_in: probe_at.saturating_duration_since(now),
        })
    }

    fn tell(&mut self, now: Instant, began: Instant, news: News) {
        match news {
            News::Opened { cause, hold } | News::Held { cause, hold } => match &mut self.open {
                Some((_, _, probe_at)) => *probe_at = (*probe_at).max(now + hold),
                None => self.open = Some((cause, now, now + hold)),
            },
            News::Closed => self.open = self.open.take().filter(|(_, since, _)| *since > began),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Three nodes in any interleaving: while the shared row says open, probes are an interval apart, and none goes out
    /// before the moment a provider named.
    #[test]
    fn never_two_probes_in_an_interval_and_never_one_before_its_time(
        events in prop::collection::vec((0_usize..3, event(), 0_u64..12), 1..250),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let mut now = Instant::now();
        let mut shared = Shared::default();
        let mut nodes: Vec<_> = (0..3).map(|_| (Breaker::new(INTERVAL), Vec::<(bool, Instant)>::new())).collect();
        let mut last_probe: Option<Instant> = None;
        for (n, (node, event, seconds)) in events.into_iter().enumerate() {
            now += Duration::from_secs(seconds);
            let (breaker, calls) = &mut nodes[node];
            match event {
                Event::Looks => drop(breaker.adopt(now, shared.seen(now))),
                Event::Wants => match breaker.admission(now) {
                    Admission::Go => calls.push((false, now)),
                    Admission::Claim => match &mut shared.open {
                        Some((.., probe_at)) if *probe_at <= now => {
                            *probe_at = now + INTERVAL;
                            breaker.probe_won(now);
                        }
                        _ => drop(breaker.adopt(now, shared.seen(now))),
                    },
                    Admission::Probe => {
                        breaker.probe_sent();
                        prop_assert!(
                            last_probe.is_none_or(|last| now + UNUSED_MAX >= last + INTERVAL) || shared.open.is_none(),
                            "two probes in an interval",
                        );
                        last_probe = Some(now);
                        calls.push((true, now));
                    }
                    Admission::AwaitProbe => prop_assert_eq!(calls.iter().filter(|(probe, _)| *probe).count(), 1),
                    Admission::Wait(_, wait) => prop_assert!(!wait.is_zero()),
                },
                Event::Ends(verdict) if !calls.is_empty() => {
                    let (was_probe, began) = calls.remove(0);
                    match verdict {
                        None if was_probe => {
                            breaker.probe_returned();
                            // It was not made: it does not count.
                            last_probe = None;
                        }
                        None => {}
                        Some(verdict) => {
                            if let Some(news) = breaker.ended(now, was_probe, Some(account(n as u128)), verdict) {
                                if news == News::Closed {
                                    last_probe = None;
                                }
                                shared.tell(now, began, news);
                            }
                        }
                    }
                }
                Event::Ends(_) => {}
            }
        }
    }
}
