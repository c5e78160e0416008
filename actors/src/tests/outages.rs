//! Outages and limits are boring: one probe per interval over all nodes, nobody's account touched, and a backlog that
//! drains at the cap.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    domain::{
        ids::IntegrationId,
        integration::{Standing, Status},
        provider::Provider,
    },
    handle::{BreakerState, EgressView, OAuthManager},
    ports::clock::Clock as _,
    ports::oauth::FailureKind,
    ports::store::FaultKind,
    shared::after,
    testing::{
        oauth::{Call, Outcome},
        provider::provider,
        universe::{GRACE, SAFE, SINGLE_USE, Universe, by_user, one_of_each_class, token_of, user},
    },
};

const MINUTE: Duration = Duration::from_secs(60);

async fn egress(manager: &OAuthManager, provider: &str) -> EgressView {
    let observed = manager.observe(&provider.parse().unwrap()).await.unwrap();
    observed.egress.unwrap()
}

/// Connects so many, each with a token that is over.
async fn overdue(universe: &Universe, many: usize, provider: &str) -> Vec<IntegrationId> {
    let mut ids = Vec::with_capacity(many);
    for n in 0..many {
        let id = universe.connect(&format!("user{n}"), provider).await;
        universe.spend(&id);
        ids.push(id);
    }
    ids
}

fn standings(universe: &Universe, ids: &[IntegrationId]) -> Vec<Standing> {
    ids.iter().map(|id| universe.store.row(id).standing).collect()
}

/// Every token asked for, here: whoever asks is told, nobody is left waiting.
async fn ask_all(manager: &OAuthManager, many: usize, provider: &str) -> usize {
    let users: Vec<_> = (0..many).map(|n| format!("user{n}")).collect();
    let asked = users.iter().map(|user| token_of(manager, user, provider, MINUTE));
    join_all(asked).await.iter().flatten().count()
}

/// An outage of thirty minutes over two nodes, and its end.
async fn outage_of_thirty_minutes(outcome: Outcome) {
    let universe = Universe::with(one_of_each_class(), |settings| settings.idle_after = None).await;
    let other = universe.another_node().await;
    let ids = overdue(&universe, 300, SAFE).await;
    let healthy = universe.connect("healthy", SINGLE_USE).await;
    universe.provider.always(SAFE, Call::Refresh, outcome.clone());
    // Both nodes' callers ask, all at once and again and again.
    ask_all(&universe.manager, 300, SAFE).await;
    ask_all(&other.manager, 300, SAFE).await;
    assert_eq!(egress(&universe.manager, SAFE).await.breaker, BreakerState::Open);
    assert_eq!(egress(&other.manager, SAFE).await.breaker, BreakerState::Open);
    let before = universe.provider.calls(SAFE, Call::Refresh);
    assert!(
        before <= 64,
        "{before} calls before it opened: what was under way"
    );

    for _ in 0..30 {
        assert_eq!(ask_all(&universe.manager, 300, SAFE).await, 0);
        assert_eq!(ask_all(&other.manager, 20, SAFE).await, 0);
        // Another provider is not concerned.
        universe
            .manager
            .refresh(&user("healthy"), &healthy, by_user("healthy"))
            .await
            .unwrap();
        tokio::time::sleep(MINUTE).await;
    }
    let probes = universe.provider.calls(SAFE, Call::Refresh) - before;
    assert!(
        (20..=61).contains(&probes),
        "{outcome:?}: {probes} probes in sixty intervals"
    );
    for standing in standings(&universe, &ids) {
        assert!(
            matches!(standing.status, Status::Active | Status::Degraded),
            "{outcome:?}: {standing:?}"
        );
    }

    universe.provider.always(SAFE, Call::Refresh, Outcome::Answer);
    tokio::time::sleep(MINUTE * 16).await;
    assert_eq!(ask_all(&universe.manager, 300, SAFE).await, 300, "{outcome:?}");
    assert_eq!(ask_all(&other.manager, 300, SAFE).await, 300, "{outcome:?}");
    assert_eq!(
        egress(&universe.manager, SAFE).await.breaker,
        BreakerState::Closed
    );
    for standing in standings(&universe, &ids) {
        assert_eq!(standing.status, Status::Active, "{outcome:?}");
    }
    other.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn thirty_minutes_of_5xx_cost_one_probe_per_interval_and_no_account() {
    outage_of_thirty_minutes(Outcome::Fail(FailureKind::Passing, "http_503")).await;
}

#[tokio::test(start_paused = true)]
async fn thirty_minutes_without_answers_cost_one_probe_per_interval_and_no_account() {
    outage_of_thirty_minutes(Outcome::Fail(FailureKind::OutcomeUnknown, "timeout")).await;
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_asks_to_be_left_alone_is_left_alone_by_every_node() {
    let universe = Universe::tuned(|settings| settings.idle_after = None).await;
    let other = universe.another_node().await;
    overdue(&universe, 20, SAFE).await;
    // The other node has called a moment ago: it believes all is well.
    assert!(token_of(&other.manager, "user0", SAFE, MINUTE).await.is_ok());
    let before = universe.provider.calls(SAFE, Call::Refresh);
    universe
        .provider
        .next(SAFE, Call::Refresh, Outcome::RateLimited(MINUTE * 10));
    assert!(token_of(&universe.manager, "user1", SAFE, MINUTE).await.is_err());
    tokio::time::sleep(Duration::from_millis(25)).await;
    for _ in 0..9 {
        ask_all(&universe.manager, 20, SAFE).await;
        ask_all(&other.manager, 20, SAFE).await;
        tokio::time::sleep(MINUTE).await;
    }
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), before + 1);
    tokio::time::sleep(MINUTE * 2).await;
    assert_eq!(ask_all(&other.manager, 20, SAFE).await, 20);
    other.end().await;
    universe.end().await;
}

/// Ten thousand when all of it is asked for (a minute in an unoptimised build), a few in every run.
fn many() -> usize {
    if std::env::var_os("OAUTH_MANAGER_FULL_TESTS").is_some() {
        10_000
    } else {
        1_000
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_named_to_a_call_that_was_repeated_holds_too() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", GRACE).await;
    universe.provider.next(GRACE, Call::Refresh, Outcome::LostAnswer);
    universe.provider.next(
        GRACE,
        Call::Refresh,
        Outcome::RateLimited(Duration::from_secs(120)),
    );
    universe
        .manager
        .refresh(&user("ada"), &id, by_user("ada"))
        .await
        .unwrap_err();
    assert_eq!(universe.provider.calls(GRACE, Call::Refresh), 2);
    assert_eq!(egress(&universe.manager, GRACE).await.breaker, BreakerState::Open);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_wrong_client_secret_touches_none_of_ten_thousand_accounts_and_all_recover_by_themselves() {
    let recorder = super::counters::Counters::install();
    let universe = Universe::with(vec![provider(SAFE)], |settings| settings.idle_after = None).await;
    let many = many();
    let ids = overdue(&universe, many, SAFE).await;
    let before = standings(&universe, &ids);
    let failures: Vec<_> = ids.iter().map(|id| failures(&universe, id)).collect();
    universe.provider.always(
        SAFE,
        Call::Refresh,
        Outcome::Fail(FailureKind::Operator, "invalid_client"),
    );
    assert_eq!(ask_all(&universe.manager, many, SAFE).await, 0);
    tokio::time::sleep(MINUTE * 10).await;
    let calls = universe.provider.calls(SAFE, Call::Refresh);
    assert!(
        calls <= 32 + 21,
        "{calls} calls: what was under way, and the probes"
    );
    assert_eq!(standings(&universe, &ids), before, "nobody's state is touched");
    let after: Vec<_> = ids.iter().map(|id| self::failures(&universe, id)).collect();
    assert_eq!(after, failures);
    assert_eq!(recorder.get("oauth_operator_alarms_total"), 1, "one alarm");

    // Corrected; nobody does anything else.
    universe.provider.always(SAFE, Call::Refresh, Outcome::Answer);
    tokio::time::sleep(MINUTE * 2).await;
    let now = universe.clock.now();
    for id in &ids {
        let row = universe.store.row(id);
        let ends = row.grant.unwrap().expires_at.unwrap();
        assert!(ends > now, "refreshed by itself");
    }
    assert_eq!(recorder.get("oauth_operator_alarms_total"), 1);
    universe.end().await;
}

fn failures(universe: &Universe, id: &IntegrationId) -> u32 {
    universe.store.row(id).grant.unwrap().failures
}

#[tokio::test(start_paused = true)]
async fn the_same_odd_error_on_many_accounts_is_ours_and_nobody_is_asked_to_reconnect() {
    let recorder = super::counters::Counters::install();
    let universe = Universe::tuned(|settings| settings.idle_after = None).await;
    let ids = overdue(&universe, 40, SAFE).await;
    universe.provider.always(
        SAFE,
        Call::Refresh,
        Outcome::Fail(FailureKind::Refused, "client_suspended"),
    );
    for _ in 0..60 {
        ask_all(&universe.manager, 40, SAFE).await;
        tokio::time::sleep(MINUTE).await;
    }
    for standing in standings(&universe, &ids) {
        assert!(
            matches!(standing.status, Status::Active | Status::Degraded),
            "{standing:?}"
        );
    }
    let view = egress(&universe.manager, SAFE).await;
    assert_eq!(
        (view.cause, view.reason.unwrap().as_str()),
        (Some(FaultKind::Operator), "client_suspended")
    );
    assert_eq!(recorder.get("oauth_operator_alarms_total"), 1);
    universe.provider.always(SAFE, Call::Refresh, Outcome::Answer);
    tokio::time::sleep(MINUTE * 2).await;
    assert_eq!(ask_all(&universe.manager, 40, SAFE).await, 40);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_account_that_is_refused_oddly_while_others_are_served_is_asked_to_reconnect() {
    let universe = Universe::tuned(|settings| settings.idle_after = None).await;
    let mut ids = Vec::new();
    for n in 0..2 {
        ids.push(universe.connect(&format!("user{n}"), SAFE).await);
    }
    for _ in 0..4 {
        universe.provider.next(
            SAFE,
            Call::Refresh,
            Outcome::Fail(FailureKind::Refused, "something_new"),
        );
        let insisting = |n: usize| {
            let user = format!("user{n}");
            let id = ids[n].clone();
            let manager = universe.manager.clone();
            async move { manager.refresh(&self::user(&user), &id, by_user(&user)).await }
        };
        assert!(insisting(0).await.is_err());
        if universe.store.row(&ids[0]).standing.status == Status::ReauthRequired {
            break;
        }
        insisting(1).await.unwrap();
    }
    assert_eq!(
        universe.store.row(&ids[0]).standing.status,
        Status::ReauthRequired
    );
    assert_eq!(universe.store.row(&ids[1]).standing.status, Status::Active);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_odd_refusal_after_an_outage_counts_as_the_first() {
    let universe = Universe::tuned(|settings| settings.idle_after = None).await;
    let (ada, bob) = (
        universe.connect("ada", SAFE).await,
        universe.connect("bob", SAFE).await,
    );
    let insisting = |name: &'static str, id: &IntegrationId| {
        let (manager, id) = (universe.manager.clone(), id.clone());
        async move { manager.refresh(&user(name), &id, by_user(name)).await }
    };
    let outage = vec![Outcome::Fail(FailureKind::Passing, "http_503"); 3];
    let odd = Outcome::Fail(FailureKind::Refused, "something_new");
    universe.provider.next(SAFE, Call::Refresh, odd.clone());
    assert!(insisting("ada", &ada).await.is_err());
    // From now on a refusal is about its account.
    insisting("bob", &bob).await.unwrap();
    for outcome in outage.into_iter().chain([odd]) {
        universe.provider.next(SAFE, Call::Refresh, outcome);
        assert!(insisting("ada", &ada).await.is_err());
    }
    let standing = universe.store.row(&ada).standing;
    assert_eq!(standing.reason.unwrap().as_str(), "something_new");
    assert_eq!(
        (standing.status, failures(&universe, &ada)),
        (Status::Degraded, 1)
    );
    tokio::time::sleep(MINUTE).await;
    assert_eq!(universe.store.row(&ada).standing.status, Status::Active);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_backlog_drains_within_the_rate_and_does_not_trip_again() {
    let capped = Provider {
        rate: Some(20.0),
        max_concurrency: 8,
        ..provider(SAFE)
    };
    let universe = Universe::with(vec![capped], |settings| settings.idle_after = None).await;
    let ids = overdue(&universe, 1_000, SAFE).await;
    universe.provider.always(
        SAFE,
        Call::Refresh,
        Outcome::Fail(FailureKind::Passing, "http_503"),
    );
    ask_all(&universe.manager, 1_000, SAFE).await;
    tokio::time::sleep(MINUTE * 5).await;
    universe.provider.always(SAFE, Call::Refresh, Outcome::Answer);
    let mut last = universe.provider.calls(SAFE, Call::Refresh);
    let mut seconds = 0;
    while ids.iter().any(|id| {
        universe.store.row(id).grant.unwrap().expires_at.unwrap() <= after(universe.clock.now(), MINUTE)
    }) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        seconds += 1;
        let calls = universe.provider.calls(SAFE, Call::Refresh);
        assert!(calls - last <= 23, "{} calls in a second", calls - last);
        last = calls;
        assert!(seconds < 240, "never drained");
    }
    assert!(seconds >= 49, "a thousand at twenty per second took {seconds} s");
    let view = egress(&universe.manager, SAFE).await;
    assert_eq!(view.breaker, BreakerState::Closed);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_grant_costs_one_call_even_if_everybody_asks() {
    let universe = Universe::new().await;
    let other = universe.another_node().await;
    let id = universe.connect("ada", SAFE).await;
    universe.provider.withdraw(SAFE, "ada");
    universe.spend(&id);
    for _ in 0..5 {
        let here = join_all((0..50).map(|_| universe.token("ada", SAFE)));
        let there = join_all((0..50).map(|_| token_of(&other.manager, "ada", SAFE, MINUTE)));
        let _ = tokio::join!(here, there);
        tokio::time::sleep(MINUTE * 60).await;
    }
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    universe.connect("ada", SAFE).await;
    universe.token("ada", SAFE).await.unwrap();
    other.end().await;
    universe.end().await;
}
