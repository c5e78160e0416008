//! One is its own affair, several are ours.

use super::*;

fn code() -> ReasonCode {
    ReasonCode::new("something_new")
}

fn account(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

#[tokio::test(start_paused = true)]
async fn the_same_odd_refusal_of_several_accounts_is_the_operators_fault() {
    let (mut suspicion, now) = (Suspicion::default(), Instant::now());
    assert_eq!(suspicion.refused(now, account(1), None, &code()), Belief::Unclear);
    assert_eq!(suspicion.refused(now, account(1), None, &code()), Belief::Unclear);
    assert_eq!(suspicion.refused(now, account(2), None, &code()), Belief::Unclear);
    assert_eq!(
        suspicion.refused(now, account(3), None, &code()),
        Belief::Operator
    );
}

#[tokio::test(start_paused = true)]
async fn different_refusals_are_not_the_same() {
    let (mut suspicion, now) = (Suspicion::default(), Instant::now());
    for n in 1..10 {
        let code = ReasonCode::new(format!("odd_{n}"));
        assert_eq!(suspicion.refused(now, account(n), None, &code), Belief::Unclear);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_believed_once_somebody_else_was_served_after_it() {
    let (mut suspicion, now) = (Suspicion::default(), Instant::now());
    suspicion.served(Some(account(9)));
    assert_eq!(
        suspicion.refused(now, account(1), None, &code()),
        Belief::Unclear,
        "before it says nothing"
    );
    suspicion.served(Some(account(9)));
    assert_eq!(suspicion.refused(now, account(1), None, &code()), Belief::Account);
    // And three spread over good ones are three accounts.
    suspicion.refused(now, account(2), None, &code());
    suspicion.served(Some(account(9)));
    assert_ne!(
        suspicion.refused(now, account(3), None, &code()),
        Belief::Operator
    );
}

#[tokio::test(start_paused = true)]
async fn the_only_account_there_is_is_believed_after_a_while() {
    let (mut suspicion, now) = (Suspicion::default(), Instant::now());
    suspicion.refused(now, account(1), None, &code());
    assert_eq!(
        suspicion.refused(now + WINDOW / 2, account(1), None, &code()),
        Belief::Unclear
    );
    assert_eq!(
        suspicion.refused(now + WINDOW, account(1), None, &code()),
        Belief::Account
    );
}

#[test]
fn many_dead_grants_in_a_row_are_reported_once() {
    let mut suspicion = Suspicion::default();
    let reported = (0..100).filter(|_| suspicion.dead_grant()).count();
    assert_eq!(reported, 1);
}

#[tokio::test(start_paused = true)]
async fn accounts_of_one_organisation_count_once_however_many_they_are() {
    let (mut suspicion, now) = (Suspicion::default(), Instant::now());
    let tenant = |name: &str| Some(Arc::from(name));
    for n in 1..50 {
        assert_eq!(
            suspicion.refused(now, account(n), tenant("one"), &code()),
            Belief::Unclear
        );
    }
    assert_eq!(
        suspicion.refused(now, account(50), tenant("two"), &code()),
        Belief::Unclear
    );
    assert_eq!(
        suspicion.refused(now, account(51), tenant("three"), &code()),
        Belief::Operator
    );
}
