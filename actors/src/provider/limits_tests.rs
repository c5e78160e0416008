//! Limits that move, and none of them is ever exceeded.

use proptest::prelude::*;

use super::*;

#[test]
fn after_an_outage_calls_double_with_every_round_of_answers_up_to_the_cap() {
    let mut ramp = Ramp::new(8);
    assert!(ramp.is_full());
    ramp.restart();
    let mut rounds = Vec::new();
    while !ramp.is_full() {
        rounds.push(ramp.allowed());
        for _ in 0..ramp.allowed() {
            ramp.up();
        }
    }
    assert_eq!(rounds, [1, 2, 4]);
    ramp.down();
    assert_eq!(
        ramp.allowed(),
        8,
        "trouble at full height is the breaker's business"
    );
    ramp.restart();
    ramp.up();
    ramp.up();
    ramp.down();
    assert_eq!(ramp.allowed(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_small_installation_may_always_repeat_and_a_large_one_a_tenth() {
    let (mut budget, now) = (RetryBudget::default(), Instant::now());
    assert_eq!(budget.left(now), 60);
    for _ in 0..60 {
        budget.called(now, true);
    }
    assert_eq!(budget.left(now), 0);
    for _ in 0..1_000 {
        budget.called(now, false);
    }
    assert_eq!(budget.left(now), 40);
    assert_eq!(
        budget.left(now + RETRY_WINDOW),
        60,
        "what was long ago counts no more"
    );
}

proptest! {
    #[test]
    fn repetitions_never_exceed_their_share(calls in prop::collection::vec((any::<bool>(), 0_u64..300), 1..3_000)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let (mut budget, mut now) = (RetryBudget::default(), Instant::now());
        let (mut first_time, mut repeated) = (0_u32, 0_u32);
        let began = now;
        for (is_retry, milliseconds) in calls {
            now += Duration::from_millis(milliseconds);
            if is_retry && budget.left(now) == 0 {
                continue;
            }
            budget.called(now, is_retry);
            if is_retry { repeated += 1 } else { first_time += 1 }
        }
        let floor = RETRIES_PER_SECOND_MIN * (now.duration_since(began) + 2 * RETRY_WINDOW).as_secs_f64();
        prop_assert!(f64::from(repeated) <= f64::from(first_time) * RETRY_SHARE + floor);
    }

    /// Three nodes that take turns of one line, each when it likes and as late as it likes.
    #[test]
    fn in_no_time_do_more_calls_go_out_than_the_rate_allows(
        rate in 1.0_f64..200.0,
        steps in prop::collection::vec((0_usize..3, 0_u64..400, 1_usize..60), 1..300),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let mut now = Instant::now();
        let mut next_turn = now;
        let mut nodes: Vec<_> = (0..3).map(|_| Turns::new(rate)).collect();
        let mut calls = Vec::new();
        for (node, milliseconds, waiting) in steps {
            now += Duration::from_millis(milliseconds);
            let turns = &mut nodes[node];
            loop {
                match turns.look(now, waiting) {
                    Turn::Now => {
                        turns.used();
                        calls.push(now);
                    }
                    Turn::At(at) => {
                        prop_assert!(at > now);
                        break;
                    }
                    Turn::Take(many) => {
                        let first = next_turn.max(now);
                        next_turn = first + turns.period() * many;
                        turns.taken(first, many);
                    }
                }
            }
        }
        let slack = TURN_TOLERANCE.max(Duration::from_secs_f64(1.0 / rate)).as_secs_f64();
        for (n, first) in calls.iter().enumerate() {
            for (m, last) in calls.iter().enumerate().skip(n) {
                let most = rate * (last.duration_since(*first).as_secs_f64() + slack) + 1.001;
                prop_assert!(((m - n + 1) as f64) <= most, "{} calls in {:?}", m - n + 1, last.duration_since(*first));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn turns_nobody_took_are_lost_and_do_not_go_out_at_once_later() {
    let (mut turns, now) = (Turns::new(10.0), Instant::now());
    turns.taken(now, 5);
    assert_eq!(turns.look(now, 5), Turn::Now);
    assert_eq!(turns.look(now + Duration::from_secs(60), 5), Turn::Take(5));
}

#[tokio::test(start_paused = true)]
async fn without_the_database_a_node_keeps_the_pace_by_itself() {
    let (mut turns, now) = (Turns::new(10.0), Instant::now());
    turns.taken_alone(now);
    assert_eq!(turns.look(now, 5), Turn::Now);
    turns.used();
    turns.taken_alone(now);
    assert_eq!(turns.look(now, 5), Turn::At(now + Duration::from_millis(100)));
}
