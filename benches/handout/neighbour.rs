//! What it costs the hand-outs of one provider's tokens that another provider hangs while many of its accounts are due.

use std::time::Duration;

use futures_util::future::join_all;
use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};

use crate::harness::{Service, eventually};

/// Whose token endpoint hangs.
const NEIGHBOUR: Provider = Provider::Microsoft;
/// Accounts there, all of them due.
const ACCOUNTS: usize = 200;

/// Connects the accounts.
pub async fn connect(around: &Service) {
    for chunk in (0..ACCOUNTS).collect::<Vec<_>>().chunks(16) {
        join_all(chunk.iter().map(async |n| {
            let user = format!("neighbour{n}");
            let begun = serde_json::json!({ "provider": NEIGHBOUR.key(), "login_hint": user });
            around.connect_with(&user, begun).await
        }))
        .await;
    }
}

/// Its provider hangs from now on, and all of its accounts are due.
pub async fn hang(around: &Service) {
    let fault = Fault::Hang;
    around.simulator.inject(NEIGHBOUR, Endpoint::Refresh, fault, 0);
    let due = "UPDATE oauth_tokens t SET issued_at = now() - interval '1 hour', expires_at = now() - interval '1 second', \
               next_refresh_at = now() - interval '1 second' \
               FROM oauth_integrations i WHERE i.id = t.integration_id AND i.provider = $1";
    around
        .sql()
        .await
        .execute(due, &[&NEIGHBOUR.key()])
        .await
        .unwrap();
    eventually("the provider is called", || async {
        let calls = around.simulator.requests_to(NEIGHBOUR, Endpoint::Refresh);
        (!calls.is_empty()).then_some(())
    })
    .await;
}

/// It answers again, and everybody is refreshed.
pub async fn recover(around: &Service) {
    around.simulator.clear_faults();
    let overdue = "SELECT count(*) FROM oauth_tokens WHERE expires_at < now()";
    let sql = around.sql().await;
    while sql.query_one(overdue, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    around.simulator.forget_requests();
}
