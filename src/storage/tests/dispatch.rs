//! Due work is given to nodes: each piece to one, soonest first, and back at once.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::ids::{IntegrationId, NodeId},
    ports::store::{AuthorizationStore, DispatchRequest, IntegrationStore, RecordStore},
};

use super::{fresh, scenario::*};
use crate::storage::Storage;

/// Accounts whose work is due: the n-th for n seconds.
async fn due(storage: &Storage, count: i32) -> Vec<IntegrationId> {
    let mut ids = Vec::new();
    for n in 1..=count {
        let id = connected(storage, &user("alice"), &n.to_string()).await.id;
        make_due(storage, &id, n).await;
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn due_work_is_given_soonest_first_and_to_one_node_only() {
    let storage = fresh().await;
    let ids = due(&storage, 5).await;
    assert_eq!(
        dispatched(&storage, &taking(1, 2)).await,
        [ids[4].clone(), ids[3].clone()]
    );
    assert_eq!(
        dispatched(&storage, &taking(2, 10)).await,
        [ids[2].clone(), ids[1].clone(), ids[0].clone()]
    );
    assert_eq!(dispatched(&storage, &taking(1, 10)).await, []);
}

#[tokio::test]
async fn nodes_that_ask_at_once_share_the_work_and_none_is_given_twice() {
    let storage = fresh().await;
    let ids = due(&storage, 60).await;
    let nodes: Vec<_> = (1..=12).map(|node| taking(node, 7)).collect();
    let given = join_all(nodes.iter().map(|request| dispatched(&storage, request))).await;
    let all: Vec<_> = given.into_iter().flatten().collect();
    let distinct: BTreeSet<_> = all.iter().map(|id| id.uuid).collect();
    assert_eq!(all.len(), distinct.len(), "none twice");
    // Rows another statement looked at in that instant were skipped; they are there the next time.
    let rest = dispatched(&storage, &taking(13, 100)).await;
    assert_eq!(all.len() + rest.len(), ids.len());
}

#[tokio::test]
async fn what_a_node_was_given_and_claimed_is_anybodys_when_its_claim_has_run_out() {
    let storage = fresh().await;
    let ids = due(&storage, 1).await;
    assert_eq!(dispatched(&storage, &taking(1, 1)).await, ids);
    storage
        .claim(&claim_request(&ids[0], 1, Duration::from_millis(50)))
        .await
        .unwrap();
    assert_eq!(dispatched(&storage, &taking(2, 1)).await, []);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(dispatched(&storage, &taking(2, 1)).await, ids);
}

#[tokio::test]
async fn what_is_claimed_or_not_due_or_another_providers_is_left_out() {
    let storage = fresh().await;
    let ids = due(&storage, 3).await;
    claimed(&storage, &ids[0], 1).await;
    make_due(&storage, &ids[1], -30).await;
    assert_eq!(dispatched(&storage, &taking(1, 10)).await, [ids[2].clone()]);
    let other = DispatchRequest {
        provider: "notion".parse().unwrap(),
        ..taking(2, 10)
    };
    assert_eq!(dispatched(&storage, &other).await, []);
}

#[tokio::test]
async fn what_is_due_for_a_moment_is_left_to_whoever_has_it_awake() {
    let storage = fresh().await;
    let ids = due(&storage, 2).await;
    make_due(&storage, &ids[1], 100).await;
    let patient = DispatchRequest {
        overdue: Duration::from_secs(50),
        ..taking(1, 10)
    };
    assert_eq!(dispatched(&storage, &patient).await, [ids[1].clone()]);
}

#[tokio::test]
async fn the_work_of_a_node_that_died_is_given_to_another_when_its_mark_has_run_out() {
    let storage = fresh().await;
    let ids = due(&storage, 1).await;
    let dying = DispatchRequest {
        hold: Duration::from_millis(1),
        ..taking(1, 10)
    };
    assert_eq!(dispatched(&storage, &dying).await, ids);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(dispatched(&storage, &taking(2, 10)).await, ids);
}

#[tokio::test]
async fn what_a_node_hands_back_is_given_to_another_at_once_and_what_others_were_given_stays_theirs() {
    let storage = fresh().await;
    let ids = due(&storage, 3).await;
    let first = dispatched(&storage, &taking(1, 2)).await;
    let second = dispatched(&storage, &taking(2, 2)).await;
    assert_eq!((first.len(), second.len()), (2, 1));
    let everything: Vec<Uuid> = ids.iter().map(|id| id.uuid).collect();
    storage
        .hand_back(NodeId(Uuid::from_u128(1)), &everything)
        .await
        .unwrap();
    assert_eq!(dispatched(&storage, &taking(3, 10)).await, first);
}

#[tokio::test]
async fn a_commit_ends_the_mark_so_that_a_retry_waits_for_nobody() {
    let storage = fresh().await;
    let ids = due(&storage, 1).await;
    assert_eq!(dispatched(&storage, &taking(1, 10)).await, ids);
    let claim = claimed(&storage, &ids[0], 1).await;
    storage
        .commit_refresh(&refreshed(&claim, &user("alice")))
        .await
        .unwrap();
    make_due(&storage, &ids[0], 1).await;
    assert_eq!(dispatched(&storage, &taking(2, 10)).await, ids);
}

#[tokio::test]
async fn an_attempt_that_vanished_is_due_whatever_was_planned() {
    let storage = fresh().await;
    let id = connected(&storage, &user("alice"), "1").await.id;
    // Planned for months from now, refreshed on demand, and the node died.
    make_due(&storage, &id, -10_000_000).await;
    storage
        .claim(&claim_request(&id, 1, Duration::from_millis(1)))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(dispatched(&storage, &taking(2, 10)).await, [id]);
}

/// Many accounts, few of them due.
pub(super) async fn many(storage: &Storage) {
    let client = storage.system().await.unwrap();
    let user = Uuid::now_v7();
    client
        .execute("INSERT INTO users (id, subject) VALUES ($1, 'many')", &[&user])
        .await
        .unwrap();
    client
        .execute(
            "INSERT INTO oauth_integrations (id, user_id, subject, provider, provider_user_id, status)
             SELECT gen_random_uuid(), $1, 'many', 'google', n::text, 'active' FROM generate_series(1, 30000) AS n",
            &[&user],
        )
        .await
        .unwrap();
    client
        .execute(
            "INSERT INTO oauth_tokens (integration_id, subject, generation, data_key, access_token, token_type, issued_at,
                next_refresh_at, last_used_at)
             SELECT id, subject, 1, '\\x00', '\\x00', 'Bearer', now(),
                now() + (provider_user_id::int - 20) * interval '1 minute', now() - interval '2 days'
             FROM oauth_integrations",
            &[],
        )
        .await
        .unwrap();
    client
        .batch("ANALYZE users; ANALYZE oauth_integrations; ANALYZE oauth_tokens")
        .await
        .unwrap();
}

/// Rows that were read without an index, by the one connection there is.
async fn rows_scanned(storage: &Storage) -> i64 {
    let client = storage.system().await.unwrap();
    client.batch("SELECT pg_stat_force_next_flush()").await.unwrap();
    let sql = "SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'oauth_%'";
    client.query_opt(sql, &[]).await.unwrap().unwrap().get(0)
}

#[tokio::test]
async fn with_many_accounts_no_regular_statement_reads_them_all() {
    let database = super::database().await;
    let storage = super::postgres::connect(&database.url, 2);
    many(&storage).await;
    let before = rows_scanned(&storage).await;
    let mut given = Vec::new();
    // As often as makes Postgres try a plan that fits any parameters.
    for _ in 0..12 {
        given.extend(dispatched(&storage, &taking(1, 3)).await);
    }
    assert_eq!(given.len(), 20);
    super::usage::hand_out(&storage, &given).await;
    let given: Vec<Uuid> = given.iter().map(|id| id.uuid).collect();
    storage
        .hand_back(NodeId(Uuid::from_u128(1)), &given)
        .await
        .unwrap();
    storage.recent_changes(Duration::from_secs(8)).await.unwrap();
    AuthorizationStore::purge(&storage).await.unwrap();
    storage.ready().await.unwrap();
    storage.migrate().await.unwrap();
    storage.key_checks().await.unwrap();
    let after = rows_scanned(&storage).await;
    assert!(after - before < 30_000, "{} rows", after - before);

    // That one would have been seen.
    let client = storage.system().await.unwrap();
    client
        .query("SELECT count(*) FROM oauth_tokens WHERE failures = 0", &[])
        .await
        .unwrap();
    drop(client);
    assert!(rows_scanned(&storage).await - after >= 30_000);
}

#[tokio::test]
async fn due_work_is_found_through_its_index() {
    let storage = fresh().await;
    many(&storage).await;
    let plan = storage.explain_dispatch().await;
    assert!(plan.contains("oauth_tokens_due"), "{plan}");
    assert!(!plan.contains("Seq Scan"), "{plan}");
}

impl Storage {
    async fn explain_dispatch(&self) -> String {
        let client = self.system().await.unwrap();
        let sql = format!(
            "PREPARE given (text, bigint, float8, uuid, float8) AS {};
             SET plan_cache_mode = force_generic_plan",
            crate::storage::dispatch::DISPATCH
        );
        client.batch(&sql).await.unwrap();
        let explain = "EXPLAIN (FORMAT JSON) EXECUTE given ('google', 100, 0, '00000000-0000-0000-0000-000000000001', 10)";
        let rows = client.query(explain, &[]).await.unwrap();
        client
            .batch("RESET plan_cache_mode; DEALLOCATE given")
            .await
            .unwrap();
        rows.iter()
            .map(|row| row.get::<_, serde_json::Value>(0).to_string())
            .collect()
    }
}
