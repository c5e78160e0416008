//! Accounts nobody asks for, and refresh tokens that end.

use std::time::Duration;

use crate::{
    domain::{
        audit::AuditAction,
        integration::Status,
        provider::Provider,
        reason::{REFRESH_TOKEN_ENDING, WhoMustAct},
    },
    testing::{
        oauth::Call,
        provider::provider,
        universe::{SAFE, Universe},
    },
};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A provider whose idle accounts must be refreshed every month, and a system that looks at its clock seldom: days go by.
async fn months() -> Universe {
    let google = Provider {
        keep_alive: Some(DAY * 30),
        ..provider(SAFE)
    };
    Universe::with(vec![google], |settings| {
        settings.poll_interval = Duration::from_secs(300);
        settings.audit_flush_interval = HOUR;
    })
    .await
}

fn refreshes(universe: &Universe) -> usize {
    universe.provider.calls(SAFE, Call::Refresh)
}

fn warnings(universe: &Universe) -> usize {
    let rows = universe.store.audit_rows();
    rows.iter().filter(|row| row.action == AuditAction::Warn).count()
}

/// A service asks once an hour, for so long.
async fn used_hourly(universe: &Universe, how_long: Duration) {
    for _ in 0..how_long.as_secs() / HOUR.as_secs() {
        universe.token("ada", SAFE).await.unwrap();
        tokio::time::sleep(HOUR).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_nobody_asked_for_in_a_day_is_only_kept_alive() {
    let universe = months().await;
    let id = universe.connect("ada", SAFE).await;
    tokio::time::sleep(DAY * 2).await;
    let in_the_first_day = refreshes(&universe);
    assert!(
        (20..=40).contains(&in_the_first_day),
        "connecting is use: {in_the_first_day}"
    );
    let planned = universe.grant(&id).next_refresh_at.unwrap();
    assert!(planned > universe.clock.later(DAY * 20), "{planned}");

    tokio::time::sleep(DAY * 20).await;
    assert_eq!(refreshes(&universe), in_the_first_day);
    tokio::time::sleep(DAY * 11).await;
    assert_eq!(
        refreshes(&universe),
        in_the_first_day + 1,
        "within its provider's month"
    );
    universe.token("ada", SAFE).await.unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn asking_again_puts_it_back_to_refreshing_ahead() {
    let universe = months().await;
    let id = universe.connect("ada", SAFE).await;
    tokio::time::sleep(DAY * 3).await;
    let before = refreshes(&universe);
    universe.token("ada", SAFE).await.unwrap();
    assert_eq!(
        refreshes(&universe),
        before + 1,
        "it had ended: refreshed on demand"
    );
    let planned = universe.grant(&id).next_refresh_at.unwrap();
    assert!(planned < universe.clock.later(HOUR), "{planned}");
    tokio::time::sleep(HOUR * 5).await;
    assert!(refreshes(&universe) >= before + 5, "and ahead from now on");
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_account_that_is_used_stays_refreshed_ahead_for_days() {
    let universe = months().await;
    universe.connect("ada", SAFE).await;
    for _ in 0..5 {
        // Half a day apart: only what the database remembers tells that it is in use.
        tokio::time::sleep(HOUR * 12).await;
        let before = refreshes(&universe);
        universe.token("ada", SAFE).await.unwrap();
        assert_eq!(refreshes(&universe), before, "its token was fresh already");
    }
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_left_alone_until_after_its_end_is_refreshed_ahead_when_somebody_asks_near_it() {
    let universe = months().await;
    let id = universe.connect("ada", SAFE).await;
    let month = universe.clock.later(DAY * 30);
    universe.edit_grant(&id, |grant| grant.next_refresh_at = Some(month));
    tokio::time::sleep(Duration::from_secs(3400)).await;
    universe.token("ada", SAFE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(refreshes(&universe), 1);
    assert!(universe.grant(&id).next_refresh_at < Some(universe.clock.later(HOUR)));
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_user_is_asked_once_before_a_refresh_token_ends_that_refreshing_does_not_put_off() {
    let universe = months().await;
    universe
        .provider
        .set_refresh_token_life(SAFE, Some((DAY * 7, false)));
    let id = universe.connect("ada", SAFE).await;
    used_hourly(&universe, DAY * 5).await;
    assert_eq!(universe.store.row(&id).standing.reason, None, "not too early");
    used_hourly(&universe, DAY).await;
    let standing = universe.store.row(&id).standing;
    assert_eq!(
        (
            standing.status,
            standing.reason.unwrap().as_str(),
            standing.who_must_act
        ),
        (Status::Active, REFRESH_TOKEN_ENDING, Some(WhoMustAct::User))
    );
    assert_eq!(warnings(&universe), 1, "once, however often it is refreshed");
    universe.token("ada", SAFE).await.unwrap();

    universe.connect("ada", SAFE).await;
    let standing = universe.store.row(&id).standing;
    assert_eq!((standing.reason, standing.who_must_act), (None, None));
    used_hourly(&universe, DAY * 6).await;
    assert_eq!(warnings(&universe), 2, "the next grant ends too");
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_user_of_an_idle_account_is_asked_in_time_too() {
    let universe = months().await;
    universe
        .provider
        .set_refresh_token_life(SAFE, Some((DAY * 7, false)));
    let id = universe.connect("ada", SAFE).await;
    tokio::time::sleep(DAY * 6).await;
    let reason = universe.store.row(&id).standing.reason.unwrap();
    assert_eq!(reason.as_str(), REFRESH_TOKEN_ENDING);
    assert!(refreshes(&universe) < 45, "a look or two beyond its first day");
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_while_each_refresh_gives_the_refresh_token_a_new_life() {
    let universe = months().await;
    universe
        .provider
        .set_refresh_token_life(SAFE, Some((DAY * 7, true)));
    let id = universe.connect("ada", SAFE).await;
    tokio::time::sleep(DAY * 20).await;
    assert_eq!(warnings(&universe), 0);
    assert_eq!(universe.store.row(&id).standing.status, Status::Active);
    // Twice or three times in three weeks, beyond the first day: before its end, and no more often than that.
    assert!(refreshes(&universe) < 45);
    universe.token("ada", SAFE).await.unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_that_ended_by_our_reckoning_alone_is_still_tried_when_somebody_asks() {
    let universe = months().await;
    universe
        .provider
        .set_refresh_token_life(SAFE, Some((DAY * 2, false)));
    let id = universe.connect("ada", SAFE).await;
    tokio::time::sleep(DAY * 9).await;
    assert_eq!(
        universe.store.row(&id).standing.status,
        Status::Active,
        "nobody but the provider says that it is dead"
    );
    universe.token("ada", SAFE).await.unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_operators_knowledge_of_how_long_grants_live_is_used_where_the_provider_is_silent() {
    let testing = Provider {
        refresh_token_lifetime: Some(DAY * 7),
        ..provider(SAFE)
    };
    let universe = Universe::with(vec![testing], |settings| {
        settings.poll_interval = Duration::from_secs(300);
        settings.audit_flush_interval = HOUR;
    })
    .await;
    let id = universe.connect("ada", SAFE).await;
    used_hourly(&universe, DAY * 6).await;
    let reason = universe.store.row(&id).standing.reason.unwrap();
    assert_eq!(reason.as_str(), REFRESH_TOKEN_ENDING);
    universe.end().await;
}
