//! The lifecycle as the design's table (section 5), and what must hold whatever happens in whatever order.

use proptest::prelude::*;

use super::*;
use crate::domain::{integration::Standing, reason::WhoMustAct};
use crate::integration::schedule;
use crate::shared::{after, before, until};

const HOUR: Duration = Duration::from_secs(3600);
const NOW: i64 = 1_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn now() -> Timestamp {
    at(NOW)
}

fn reason(code: &str) -> ReasonCode {
    ReasonCode::new(code)
}

/// An active row whose token was issued `age` ago for an hour, due six minutes before its end.
fn row(age: Duration) -> Row {
    let issued_at = before(now(), age);
    let expires_at = after(issued_at, HOUR);
    Row {
        standing: Standing::active(),
        token: Some(Token {
            generation: 1,
            issued_at,
            expires_at: Some(expires_at),
        }),
        due_at: Some(before(expires_at, Duration::from_secs(360))),
        failures: 0,
        refreshable: true,
    }
}

fn fresh() -> Row {
    row(Duration::from_secs(60))
}

/// Due, but good for another five minutes.
fn ending() -> Row {
    row(Duration::from_secs(3300))
}

fn spent() -> Row {
    row(HOUR * 2)
}

fn with(status: Status, who: WhoMustAct, row: Row) -> Row {
    Row {
        standing: Standing::because(status, reason("why"), who),
        ..row
    }
}

fn degraded(row: Row, again: Duration) -> Row {
    Row {
        due_at: Some(after(now(), again)),
        ..with(Status::Degraded, WhoMustAct::Nobody, row)
    }
}

fn without_token(row: Row) -> Row {
    Row {
        token: None,
        due_at: None,
        ..row
    }
}

fn awake(row: Row) -> State {
    awaken(row, now()).0
}

/// A state with a refresh under way and these waiters.
fn refreshing(row: Row, waiters: &[(u64, Wanted)]) -> State {
    let mut state = awake(row);
    if state.phase != Phase::Refreshing {
        state.phase = Phase::Refreshing;
    }
    for (id, want) in waiters {
        let effects = step(&mut state, Input::Asked(WaiterId(*id), *want), now());
        assert!(effects.is_empty(), "waits: {effects:?}");
    }
    state
}

fn token(min_ttl: Duration) -> Wanted {
    Wanted::Token { min_ttl }
}

fn any_token() -> Wanted {
    token(Duration::ZERO)
}

fn ask(state: &mut State, id: u64, want: Wanted) -> Vec<Effect> {
    step(state, Input::Asked(WaiterId(id), want), now())
}

fn granted(id: u64) -> Effect {
    Effect::Grant(WaiterId(id))
}

fn refused(id: u64, refusal: Refusal) -> Effect {
    Effect::Refuse(WaiterId(id), refusal)
}

mod table {
    //! One test per row of the design's table.

    use super::*;

    #[test]
    fn a_row_with_a_usable_token_is_active_and_arms_the_timer() {
        let (state, effects) = awaken(fresh(), now());
        assert_eq!(state.phase, Phase::Active);
        assert_eq!(effects, [Effect::ArmTimer(fresh().due_at.unwrap())]);
    }

    #[test]
    fn a_row_with_a_spent_token_is_refreshed_at_once() {
        for row in [spent(), ending()] {
            let (state, effects) = awaken(row, now());
            assert_eq!(
                (state.phase, effects),
                (Phase::Refreshing, vec![Effect::StartRefresh])
            );
        }
    }

    #[test]
    fn a_row_the_provider_gives_no_end_for_is_active_without_a_timer() {
        let endless = Row {
            token: Some(Token {
                generation: 1,
                issued_at: at(0),
                expires_at: None,
            }),
            due_at: None,
            ..fresh()
        };
        let (mut state, effects) = awaken(endless, now());
        assert_eq!((&state.phase, effects.len()), (&Phase::Active, 0));
        assert_eq!(ask(&mut state, 1, token(HOUR * 1000)), [granted(1)]);
    }

    #[test]
    fn the_timer_a_forced_refresh_and_too_little_life_each_begin_a_refresh() {
        let mut due = awake(fresh());
        assert_eq!(
            step(&mut due, Input::Due, fresh().due_at.unwrap()),
            [Effect::StartRefresh]
        );
        let mut forced = awake(fresh());
        assert_eq!(ask(&mut forced, 1, Wanted::Refresh), [Effect::StartRefresh]);
        let mut too_short = awake(row(HOUR / 2));
        assert_eq!(
            ask(&mut too_short, 1, token(HOUR * 3 / 4)),
            [Effect::StartRefresh]
        );
        for state in [due, forced, too_short] {
            assert_eq!(state.phase, Phase::Refreshing);
        }
    }

    #[test]
    fn a_timer_that_fires_early_is_armed_again() {
        assert_eq!(
            step(&mut awake(fresh()), Input::Due, now()),
            [Effect::ArmTimer(fresh().due_at.unwrap())]
        );
    }

    #[test]
    fn while_refreshing_a_token_that_is_good_enough_is_handed_out_at_once() {
        assert_eq!(
            ask(&mut refreshing(ending(), &[]), 1, token(Duration::from_secs(60))),
            [granted(1)]
        );
    }

    #[test]
    fn while_refreshing_whoever_needs_more_waits_and_begins_nothing() {
        assert_eq!(ask(&mut refreshing(ending(), &[]), 1, token(HOUR / 2)), []);
        assert_eq!(ask(&mut refreshing(ending(), &[]), 1, Wanted::Refresh), []);
    }

    #[test]
    fn those_who_may_wait_are_bounded() {
        let mut state = refreshing(spent(), &[]);
        for id in 0..WAITERS_MAX as u64 {
            assert_eq!(ask(&mut state, id, any_token()), []);
        }
        assert_eq!(
            ask(&mut state, u64::MAX, any_token()),
            [refused(u64::MAX, Refusal::Crowded)]
        );
    }

    #[test]
    fn a_refresh_answers_every_waiter_and_arms_the_timer() {
        let mut state = refreshing(
            spent(),
            &[(1, any_token()), (2, token(HOUR / 2)), (3, Wanted::Refresh)],
        );
        let effects = step(&mut state, Input::Settled(fresh()), now());
        assert_eq!(
            effects,
            [
                Effect::ArmTimer(fresh().due_at.unwrap()),
                granted(1),
                granted(2),
                granted(3)
            ]
        );
        assert_eq!(state.phase, Phase::Active);
    }

    #[test]
    fn a_refresh_of_what_has_no_refresh_token_is_refused_and_its_token_served() {
        let row = Row {
            refreshable: false,
            ..fresh()
        };
        let (mut state, _) = awaken(row, now());
        let asked = Input::Asked(WaiterId(1), Wanted::Refresh);
        let effects = step(&mut state, asked, now());
        assert_eq!(effects, [refused(1, Refusal::Reauth(reason("no_refresh_token")))]);
        let effects = step(
            &mut state,
            Input::Asked(WaiterId(2), token(Duration::ZERO)),
            now(),
        );
        assert_eq!(effects, [Effect::Grant(WaiterId(2))]);
    }

    #[test]
    fn who_wants_more_life_than_the_provider_gives_is_told_how_much_there_is() {
        let longest = Duration::from_secs(3540);
        let mut waiting = refreshing(spent(), &[(1, token(HOUR * 2))]);
        let effects = step(&mut waiting, Input::Settled(fresh()), now());
        assert!(effects.contains(&refused(1, Refusal::TooShortLived { longest })));
        // And asking again begins no refresh that could not help.
        let mut state = awake(fresh());
        assert_eq!(
            ask(&mut state, 2, token(HOUR * 2)),
            [refused(2, Refusal::TooShortLived { longest })]
        );
    }

    #[test]
    fn while_the_database_is_away_nobody_waits_for_a_refresh_and_what_lives_is_served() {
        let away = Refusal::Database {
            retry_after: Duration::from_secs(1),
        };
        let mut state = refreshing(ending(), &[(1, token(HOUR / 2)), (2, Wanted::Refresh)]);
        assert_eq!(
            step(&mut state, Input::Stalled, now()),
            [refused(1, away.clone()), refused(2, away.clone())]
        );
        assert_eq!(ask(&mut state, 3, token(HOUR / 2)), [refused(3, away.clone())]);
        assert_eq!(ask(&mut state, 4, Wanted::Refresh), [refused(4, away)]);
        assert_eq!(ask(&mut state, 5, any_token()), [granted(5)]);
        assert_eq!(step(&mut state, Input::Due, now()), [], "it is under way still");
        assert!(!state.is_idle());
        // It is back: the same attempt is worth waiting for again.
        assert_eq!(step(&mut state, Input::Resumed, now()), []);
        assert_eq!(ask(&mut state, 6, token(HOUR / 2)), []);
        let effects = step(&mut state, Input::Settled(fresh()), now());
        assert!(effects.contains(&granted(6)));
        assert_eq!(
            step(&mut state, Input::Stalled, now()),
            [],
            "nothing is under way"
        );
        assert_eq!(state.phase, Phase::Active);
    }

    #[test]
    fn a_claim_held_elsewhere_keeps_the_waiters_and_looks_again() {
        let mut state = refreshing(spent(), &[(1, any_token())]);
        let look_at = after(now(), Duration::from_millis(300));
        assert_eq!(
            step(&mut state, Input::HeldElsewhere { look_at }, now()),
            [Effect::ArmTimer(look_at)]
        );
        assert!(!state.is_idle());
        assert_eq!(ask(&mut state, 2, any_token()), [], "the next one waits too");
        assert_eq!(step(&mut state, Input::Due, look_at), [Effect::StartRefresh]);
        let effects = step(&mut state, Input::Settled(fresh()), look_at);
        assert!(effects.ends_with(&[granted(1), granted(2)]));
    }

    #[test]
    fn a_passing_failure_serves_the_token_that_is_usable_and_refuses_the_rest() {
        let again = Duration::from_secs(30);
        let mut state = refreshing(ending(), &[(1, Wanted::Refresh), (2, token(HOUR / 2))]);
        let effects = step(&mut state, Input::Settled(degraded(ending(), again)), now());
        let unavailable = Refusal::Unavailable {
            reason: reason("why"),
            retry_after: again,
        };
        assert_eq!(
            effects,
            [
                Effect::ArmTimer(after(now(), again)),
                refused(1, unavailable.clone()),
                refused(2, unavailable.clone())
            ]
        );
        assert_eq!(
            ask(&mut state, 3, any_token()),
            [granted(3)],
            "never worse than before"
        );
        assert_eq!(
            ask(&mut state, 4, token(HOUR / 2)),
            [refused(4, unavailable)],
            "no call while backed off"
        );
        assert_eq!(
            ask(&mut state, 5, Wanted::Refresh),
            [Effect::StartRefresh],
            "unless somebody insists"
        );
    }

    #[test]
    fn a_back_off_that_is_over_is_ended_by_the_timer_or_by_whoever_asks_first() {
        let again = Duration::from_secs(30);
        let later = after(now(), again);
        let mut by_timer = awake(degraded(spent(), again));
        assert_eq!(step(&mut by_timer, Input::Due, later), [Effect::StartRefresh]);
        let mut by_asking = awake(degraded(spent(), again));
        assert_eq!(
            step(&mut by_asking, Input::Asked(WaiterId(1), any_token()), later),
            [Effect::StartRefresh]
        );
    }

    #[test]
    fn the_operators_fault_leaves_the_row_as_it_is_and_tells_whose_move_it_is() {
        let until = after(now(), Duration::from_secs(30));
        let cause = OpenCause::Operator(reason("invalid_client"));
        let mut state = refreshing(ending(), &[(1, token(HOUR / 2)), (2, Wanted::Refresh)]);
        let effects = step(&mut state, Input::BreakerOpen { cause, until }, now());
        let paused = Refusal::Operator {
            reason: reason("invalid_client"),
            retry_after: Duration::from_secs(30),
        };
        assert_eq!(
            effects,
            [
                Effect::ArmTimer(until),
                refused(1, paused.clone()),
                refused(2, paused.clone())
            ]
        );
        assert_eq!(state.row, ending());
        assert_eq!(ask(&mut state, 3, any_token()), [granted(3)]);
        assert_eq!(
            ask(&mut state, 4, Wanted::Refresh),
            [refused(4, paused)],
            "the breaker yields to nobody"
        );
    }

    #[test]
    fn the_database_being_away_begins_nothing_and_serves_what_there_is() {
        let until = after(now(), Duration::from_secs(2));
        let mut state = refreshing(ending(), &[(1, Wanted::Refresh)]);
        let effects = step(&mut state, Input::DatabaseAway { until }, now());
        let retry_after = Duration::from_secs(2);
        assert_eq!(
            effects,
            [
                Effect::ArmTimer(until),
                refused(1, Refusal::Database { retry_after })
            ]
        );
        assert_eq!(ask(&mut state, 2, any_token()), [granted(2)]);
        assert_eq!(
            ask(&mut state, 3, Wanted::Refresh),
            [refused(3, Refusal::Database { retry_after })]
        );
    }

    #[test]
    fn a_dead_grant_asks_the_user_and_begins_nothing_more() {
        let dead = without_token(with(Status::ReauthRequired, WhoMustAct::User, spent()));
        let mut state = refreshing(spent(), &[(1, any_token()), (2, Wanted::Refresh)]);
        let reauth = Refusal::Reauth(reason("why"));
        assert_eq!(
            step(&mut state, Input::Settled(dead), now()),
            [refused(1, reauth.clone()), refused(2, reauth.clone())]
        );
        assert_eq!(step(&mut state, Input::Due, after(now(), HOUR)), []);
        assert_eq!(ask(&mut state, 3, any_token()), [refused(3, reauth.clone())]);
        assert_eq!(ask(&mut state, 4, Wanted::Refresh), [refused(4, reauth)]);
        assert!(state.is_idle());
    }

    #[test]
    fn a_reconnect_makes_it_active_again() {
        let mut state = awake(without_token(with(
            Status::ReauthRequired,
            WhoMustAct::User,
            spent(),
        )));
        step(&mut state, Input::Settled(fresh()), now());
        assert_eq!(ask(&mut state, 1, token(HOUR / 2)), [granted(1)]);
    }

    #[test]
    fn an_administrators_block_is_told_as_such_and_tried_again_when_due() {
        let paused = Row {
            due_at: Some(after(now(), HOUR)),
            ..with(Status::Paused, WhoMustAct::Admin, spent())
        };
        let mut state = awake(paused);
        assert_eq!(
            ask(&mut state, 1, any_token()),
            [refused(1, Refusal::Admin(reason("why")))]
        );
        assert_eq!(
            step(&mut state, Input::Due, after(now(), HOUR)),
            [Effect::StartRefresh]
        );
    }

    #[test]
    fn a_revocation_refuses_everybody_and_tells_the_provider_when_due() {
        let retry_at = after(now(), Duration::from_secs(60));
        let revoked = Row {
            due_at: Some(retry_at),
            ..with(Status::Revoked, WhoMustAct::Nobody, fresh())
        };
        let mut state = refreshing(ending(), &[(1, Wanted::Refresh), (2, token(HOUR / 2))]);
        assert_eq!(
            step(&mut state, Input::Settled(revoked), now()),
            [
                Effect::ArmTimer(retry_at),
                refused(1, Refusal::NotConnected),
                refused(2, Refusal::NotConnected)
            ]
        );
        assert_eq!(
            ask(&mut state, 3, any_token()),
            [refused(3, Refusal::NotConnected)]
        );
        assert_eq!(step(&mut state, Input::Due, retry_at), [Effect::TellProvider]);
    }

    #[test]
    fn a_row_that_is_gone_refuses_everybody() {
        let mut state = refreshing(spent(), &[(1, any_token())]);
        assert_eq!(
            step(&mut state, Input::Gone, now()),
            [refused(1, Refusal::NotConnected)]
        );
        assert_eq!(step(&mut state, Input::Due, after(now(), HOUR)), []);
    }
}

mod odd_rows {
    //! Rows that no attempt of ours writes, but that a database may hold.

    use super::*;

    #[test]
    fn a_degraded_row_that_names_no_time_is_refreshed_on_demand() {
        let mut state = awake(Row {
            due_at: None,
            ..degraded(spent(), HOUR)
        });
        assert_eq!(ask(&mut state, 1, any_token()), [Effect::StartRefresh]);
    }

    #[test]
    fn a_paused_row_that_names_no_time_waits_for_somebody_and_says_when_to_come_again() {
        let row = Row {
            due_at: None,
            ..with(Status::Paused, WhoMustAct::Operator, spent())
        };
        let (mut state, effects) = awaken(row, now());
        assert_eq!(effects, []);
        let effects = ask(&mut state, 1, any_token());
        let operator = Refusal::Operator {
            reason: reason("why"),
            retry_after: schedule::PAUSED_RETRY,
        };
        assert_eq!(effects, [refused(1, operator)], "not in nine thousand years");
        assert_eq!(ask(&mut state, 2, Wanted::Refresh), [Effect::StartRefresh]);
    }

    #[test]
    fn a_row_without_tokens_needs_its_user_whatever_its_status_says() {
        for status in [Status::Pending, Status::Active, Status::Degraded, Status::Paused] {
            let mut state = awake(without_token(with(status, WhoMustAct::Nobody, spent())));
            let effects = ask(&mut state, 1, any_token());
            assert_eq!(
                effects,
                [refused(1, Refusal::Reauth(reason("why")))],
                "{status:?}"
            );
        }
    }

    #[test]
    fn a_settled_row_that_is_still_spent_is_unavailable_and_not_the_callers_mistake() {
        let mut state = refreshing(spent(), &[(1, any_token())]);
        let effects = step(
            &mut state,
            Input::Settled(Row {
                due_at: Some(after(now(), HOUR)),
                ..spent()
            }),
            now(),
        );
        assert!(
            matches!(
                effects[..],
                [_, Effect::Refuse(WaiterId(1), Refusal::Unavailable { .. })]
            ),
            "{effects:?}"
        );
    }
}

mod late_outcomes {
    //! An attempt may report after its row has settled otherwise.

    use super::*;

    fn outcomes() -> [Input; 3] {
        let until = after(now(), Duration::from_secs(1));
        [
            Input::HeldElsewhere { look_at: until },
            Input::BreakerOpen {
                cause: OpenCause::Outage(reason("timeout")),
                until,
            },
            Input::DatabaseAway { until },
        ]
    }

    #[test]
    fn revoked_and_reauth_required_are_final_for_late_outcomes() {
        for status in [Status::Revoked, Status::ReauthRequired] {
            for late in outcomes() {
                let mut state = awake(with(status, WhoMustAct::User, ending()));
                let before = state.clone();
                assert_eq!(step(&mut state, late, now()), []);
                assert_eq!(state, before);
            }
        }
    }

    #[test]
    fn a_row_refreshed_elsewhere_is_not_put_on_hold_by_an_attempt_that_lost() {
        for late in outcomes() {
            let mut state = refreshing(spent(), &[]);
            step(&mut state, Input::Settled(fresh()), now());
            assert_eq!(step(&mut state, late, now()), []);
            assert_eq!(state.phase, Phase::Active);
        }
    }
}

#[path = "lifecycle_invariants.rs"]
mod invariants;

#[test]
fn a_rejected_token_is_refreshed_once_and_handed_to_nobody_meanwhile() {
    let rejected = |is_first| Input::Rejected {
        generation: 1,
        is_first,
    };
    let want = Wanted::Token {
        min_ttl: Duration::ZERO,
    };
    let mut state = awake(fresh());
    assert_eq!(step(&mut state, rejected(true), now()), [Effect::StartRefresh]);
    assert_eq!(step(&mut state, rejected(false), now()), []);
    assert_eq!(step(&mut state, Input::Asked(WaiterId(1), want), now()), []);
    // It fails: whoever waits is told why, and so is whoever comes next.
    let failed = with(Status::Degraded, WhoMustAct::Nobody, fresh());
    let effects = step(&mut state, Input::Settled(failed.clone()), now());
    assert!(
        matches!(
            effects[..],
            [.., Effect::Refuse(WaiterId(1), Refusal::Unavailable { .. })]
        ),
        "{effects:?}"
    );
    let effects = step(&mut state, Input::Asked(WaiterId(2), want), now());
    assert!(matches!(effects[..], [Effect::Refuse(..)]), "{effects:?}");
    // Another generation is another token.
    let mut next = fresh();
    next.token = next.token.map(|token| Token {
        generation: 2,
        ..token
    });
    step(&mut state, Input::Settled(next), now());
    let effects = step(&mut state, Input::Asked(WaiterId(3), want), now());
    assert_eq!(effects, [Effect::Grant(WaiterId(3))]);
}

#[test]
fn a_report_that_came_too_late_or_of_what_cannot_be_refreshed_changes_nothing() {
    let want = Wanted::Token {
        min_ttl: Duration::ZERO,
    };
    for (row, generation) in [
        (fresh(), 0),
        (
            Row {
                refreshable: false,
                ..fresh()
            },
            1,
        ),
    ] {
        let mut state = awake(row);
        let report = Input::Rejected {
            generation,
            is_first: true,
        };
        assert_eq!(step(&mut state, report, now()), []);
        let effects = step(&mut state, Input::Asked(WaiterId(1), want), now());
        assert_eq!(effects, [Effect::Grant(WaiterId(1))]);
    }
}
