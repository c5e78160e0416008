//! Mailboxes are unbounded, so what goes into them is bounded: a flood is answered "too much", and leaves nothing behind.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    domain::error::ServiceError,
    testing::{
        store::Op,
        universe::{SAFE, Universe, by_user, user},
    },
};

/// More than may be under way at once of anything.
const FLOOD: usize = 30_000;
/// As the audit sink says.
const RECORDS_MAX: usize = 16_384;
const WISHES_MAX: usize = 4_096;

fn overloaded<T>(answers: &[Result<T, ServiceError>]) -> usize {
    let is_overload =
        |answer: &&Result<T, ServiceError>| matches!(answer, Err(ServiceError::Overloaded { .. }));
    answers.iter().filter(is_overload).count()
}

#[tokio::test(start_paused = true)]
async fn questions_beyond_the_bound_are_refused_at_once_and_the_others_are_answered() {
    let universe = Universe::new().await;
    universe.connect("ada", SAFE).await;
    let reading = universe.store.hold_before(Op::Directory);
    let asked = async { join_all((0..FLOOD).map(|_| universe.token("ada", SAFE))).await };
    let meanwhile = async {
        reading.arrived(1).await;
        let queue = universe.manager.audit_queue();
        assert!(queue.in_flight <= RECORDS_MAX, "{queue:?}");
        reading.open();
    };
    let (answers, ()) = tokio::join!(asked, meanwhile);
    let refused = overloaded(&answers);
    assert!(refused >= FLOOD - RECORDS_MAX, "{refused}");
    assert!(
        answers
            .iter()
            .all(|answer| matches!(answer, Ok(_) | Err(ServiceError::Overloaded { .. }))),
        "typed, every one"
    );
    // Nothing is left of it.
    universe.token("ada", SAFE).await.unwrap();
    assert_eq!(universe.manager.audit_queue().in_flight, 0);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn wishes_for_refreshes_beyond_the_bound_are_refused_at_once() {
    let universe = Universe::new().await;
    let ada = universe.connect("ada", SAFE).await;
    let claiming = universe.store.hold_before(Op::Claim);
    let owner = user("ada");
    let asked =
        async { join_all((0..FLOOD).map(|_| universe.manager.refresh(&owner, &ada, by_user("ada")))).await };
    let meanwhile = async {
        claiming.arrived(1).await;
        claiming.open();
    };
    let (answers, ()) = tokio::join!(asked, meanwhile);
    let refused = overloaded(&answers);
    assert!(
        (FLOOD - 2 * WISHES_MAX..=FLOOD - WISHES_MAX).contains(&refused),
        "{refused}"
    );
    universe
        .manager
        .refresh(&owner, &ada, by_user("ada"))
        .await
        .unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_told_changes_is_one_reading_and_one_more() {
    let universe = Universe::new().await;
    let ada = universe.connect("ada", SAFE).await;
    universe.token("ada", SAFE).await.unwrap();
    let before = universe.store.calls(Op::Load);
    let reading = universe.store.hold_before(Op::Load);
    universe.manager.changed(&ada);
    reading.arrived(1).await;
    for _ in 0..FLOOD {
        universe.manager.changed(&ada);
    }
    // Every one of them has been heard: a service that asks for the first time is answered by the actor itself, after them.
    let newcomer = universe.service("newcomer", &["*:*"]);
    universe.token_by_id(&ada, newcomer).await.unwrap();
    reading.open();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(universe.store.calls(Op::Load) - before, 2);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn questions_about_nobody_leave_nothing_behind() {
    let universe = Universe::new().await;
    universe.connect("ada", SAFE).await;
    universe.token("ada", SAFE).await.unwrap();
    for batch in 0..20 {
        let names = (0..100)
            .map(|n| format!("nobody-{batch}-{n}"))
            .collect::<Vec<_>>();
        let answers = join_all(names.iter().map(|name| universe.token(name, SAFE))).await;
        assert!(
            answers
                .iter()
                .all(|answer| matches!(answer, Err(ServiceError::NotConnected)))
        );
    }
    let observed = universe.manager.observe(&SAFE.parse().unwrap()).await.unwrap();
    assert_eq!(observed.users, 1, "only who has an account is remembered");
    universe.end().await;
}
