//! Hand-outs are recorded, all of them, and a graceful stop loses nothing.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::RequestContext,
        error::ServiceError,
    },
    system::Stopped,
    testing::{
        oauth::Call,
        universe::{SAFE, SINGLE_USE, Universe},
    },
};

const HANDOUTS: u32 = 500;

#[tokio::test(start_paused = true)]
async fn hand_outs_are_counted_together_and_written_before_a_graceful_stop_ends() {
    let universe = Universe::new().await;
    universe.connect("ada", SAFE).await;
    for _ in 0..HANDOUTS {
        universe.token("ada", SAFE).await.unwrap();
    }
    let store = universe.store.clone();
    universe.end().await;
    let rows = store
        .audit_rows()
        .into_iter()
        .filter(|row| row.action == AuditAction::TokenIssued);
    let counts: Vec<_> = rows.map(|row| row.count).collect();
    assert_eq!(counts.iter().sum::<u32>(), HANDOUTS);
    assert!(counts.len() <= 3, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn when_nothing_more_can_be_recorded_nothing_more_is_handed_out() {
    let universe = Universe::new().await;
    let ids = [
        universe.connect("ada", SAFE).await,
        universe.connect("bob", SAFE).await,
    ];
    universe.connect("eve", SAFE).await;
    for (id, name) in ids.iter().zip(["ada", "bob"]) {
        universe.ends_in(id, Duration::from_secs(300));
        universe.token(name, SAFE).await.unwrap();
    }
    // Every permit travels inside a question that waits for a refresh.
    let gate = universe.provider.hold(SAFE, Call::Refresh);
    let half_an_hour = Duration::from_secs(1800);
    let ada = join_all((0..8192).map(|_| universe.token_for("ada", SAFE, half_an_hour)));
    let bob = join_all((0..8192).map(|_| universe.token_for("bob", SAFE, half_an_hour)));
    let one_too_many = async {
        gate.arrived(1).await;
        // Whose row of this minute is begun is counted in it; another row would be one too many.
        universe.token("ada", SAFE).await.unwrap();
        let error = universe.token("eve", SAFE).await.unwrap_err();
        assert!(matches!(error, ServiceError::Overloaded { .. }), "{error}");
        gate.open();
    };
    let (ada, bob, ()) = tokio::join!(ada, bob, one_too_many);
    assert!(ada.into_iter().chain(bob).all(|answer| answer.is_ok()));
    universe.token("eve", SAFE).await.unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_may_still_record_when_the_system_ends_is_waited_for_and_nobody_may_afterwards() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    let (store, audit) = (universe.store.clone(), universe.manager.shared.audit.clone());
    let permit = audit.permit().unwrap();
    let late = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(audit.permit().is_err(), "no hand-out begins any more");
        let entry = AuditEntry::new(
            AuditAction::TokenIssued,
            AuditOutcome::Success,
            RequestContext::system(),
        );
        assert!(audit.record(entry.with_integration(&id, &"ada".parse().unwrap()), permit));
    };
    let (stopped, ()) = tokio::join!(universe.stop(), late);
    assert!(stopped.audit_written);
    let is_handed_out = |row: &AuditEntry| row.action == AuditAction::TokenIssued;
    assert_eq!(
        store.audit_rows().iter().filter(|row| is_handed_out(row)).count(),
        1
    );
    assert!(audit.permit().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_waits_for_a_refresh_in_flight() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.spend(&id);
    let gate = universe.provider.hold(SINGLE_USE, Call::Refresh);
    let manager = universe.manager.clone();
    let store = universe.store.clone();
    let asking = crate::testing::universe::token_of(&manager, "ada", SINGLE_USE, Duration::ZERO);
    let stopping = async {
        gate.arrived(1).await;
        let opening = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            gate.open();
        };
        tokio::join!(universe.stop(), opening).0
    };
    let (token, stopped) = tokio::join!(asking, stopping);
    token.unwrap();
    assert_eq!(
        stopped,
        Stopped {
            drained: true,
            audit_written: true
        }
    );
    assert_eq!(store.row(&id).grant.unwrap().generation, 2);
}
