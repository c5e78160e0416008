//! What a provider's error means for one account, and who must act: the error tables, end to end.

use std::time::Duration;

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use serde_json::{Value, json};

use crate::{
    harness::{Api, Service, eventually},
    provider_faults::impatient,
};

struct Account {
    id: String,
    user: Api,
    consumer: Api,
}

impl Account {
    async fn of(service: &Service, user: &str, provider: &str) -> Self {
        let integration = service.connect(user, provider).await;
        Self {
            id: integration["id"].as_str().unwrap().to_owned(),
            user: service.user(user),
            consumer: service.service(&["*:*"]).await,
        }
    }

    async fn refresh(&self) -> crate::harness::Answer {
        self.user
            .post(&format!("/integrations/{}/refresh", self.id), json!({}))
            .await
    }

    async fn token(&self) -> crate::harness::Answer {
        self.consumer
            .get(&format!("/integrations/{}/token", self.id))
            .await
    }

    async fn view(&self) -> Value {
        self.user
            .get(&format!("/integrations/{}", self.id))
            .await
            .expect_status(200)
    }

    /// How many of its sealed tokens the row still holds.
    async fn tokens_kept(&self, service: &Service) -> i64 {
        let uuid = uuid::Uuid::parse_str(self.id.rsplit('_').next().unwrap()).unwrap();
        let count =
            "SELECT count(access_token) + count(refresh_token) FROM oauth_tokens WHERE integration_id = $1";
        service
            .sql()
            .await
            .query_one(count, &[&uuid])
            .await
            .unwrap()
            .get(0)
    }
}

async fn start() -> Service {
    Service::start_with(impatient()).await
}

fn error(code: &str) -> Fault {
    Fault::Error {
        code: code.to_owned(),
    }
}

/// The grant is dead: the user must reconnect, and nobody asks the provider again.
async fn is_dead_after(
    service: &Service,
    provider: Provider,
    user: &str,
    fault: Option<Fault>,
    reason: &str,
) {
    let key = provider.key();
    let account = Account::of(service, user, key).await;
    match fault {
        Some(fault) => service.simulator.inject(provider, Endpoint::Refresh, fault, 1),
        // The user removes the application at the provider.
        None => {
            let hint = account.view().await["account"]["email"]
                .as_str()
                .map(str::to_owned);
            service.simulator.revoke(provider, hint.as_deref());
        }
    }
    let problem = account.refresh().await.expect_problem(409, "reauth_required");
    assert_eq!(problem["who_must_act"], "user", "{key}: {problem:#}");
    assert_eq!(problem["reason"], reason, "{key}: {problem:#}");
    assert_eq!(problem["integration_id"], account.id.as_str());
    let view = account.view().await;
    assert_eq!(
        (&view["status"], &view["status_reason"]),
        (&json!("reauth_required"), &json!(reason))
    );
    assert_eq!(account.tokens_kept(service).await, 0, "{key}: forgotten");

    let asked = service.simulator.requests_to(provider, Endpoint::Refresh).len();
    account.token().await.expect_problem(409, "reauth_required");
    account.refresh().await.expect_problem(409, "reauth_required");
    assert_eq!(
        service.simulator.requests_to(provider, Endpoint::Refresh).len(),
        asked,
        "{key}: the verdict is final"
    );

    // The user comes back: the same integration lives again.
    let again = service
        .connect_with(user, json!({ "provider": key, "integration_id": account.id }))
        .await;
    assert_eq!(
        (&again["id"], &again["status"]),
        (&json!(account.id), &json!("active"))
    );
    account.token().await.expect_status(200);
    account.refresh().await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_grant_asks_the_user_once_forgets_the_tokens_and_lives_again_under_the_same_id() {
    let service = start().await;
    for provider in [
        Provider::Google,
        Provider::Microsoft,
        Provider::Notion,
        Provider::YouTube,
    ] {
        let reason = if provider == Provider::Microsoft {
            "aadsts50173"
        } else {
            "invalid_grant"
        };
        is_dead_after(&service, provider, "ada", None, reason).await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dialects_own_ways_to_say_dead_are_understood() {
    let service = start().await;
    for (provider, fault, reason) in [
        (Provider::Google, error("invalid_rapt"), "invalid_rapt"),
        (Provider::Microsoft, error("AADSTS700082"), "aadsts700082"),
        (Provider::Microsoft, error("AADSTS70043"), "aadsts70043"),
        (Provider::Notion, error("invalid_grant"), "invalid_grant"),
        (
            Provider::Notion,
            Fault::PlainOauthError {
                code: "invalid_grant".to_owned(),
            },
            "invalid_grant",
        ),
    ] {
        is_dead_after(&service, provider, "ada", Some(fault), reason).await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn microsofts_numbers_say_who_must_act() {
    let service = start().await;
    let probe = Account::of(&service, "ada", "microsoft").await;
    for (number, status, code, who, state) in [
        (90033, 503, "provider_unavailable", "nobody", "degraded"),
        (50076, 409, "reauth_required", "user", "reauth_required"),
        (65001, 409, "reauth_required", "user", "reauth_required"),
        (50055, 409, "reauth_required", "user", "reauth_required"),
        (90094, 409, "admin_required", "admin", "paused"),
        (50057, 409, "admin_required", "admin", "paused"),
        (7_000_215, 503, "provider_paused", "operator", "active"),
        // It says that we ask too often, and nobody asks at all for a while: the last of the table.
        (50196, 503, "provider_unavailable", "nobody", "degraded"),
    ] {
        let user = format!("user-{number}");
        let account = eventually("the provider is called again", || async {
            let observed = service
                .manager
                .observe(&"microsoft".parse().unwrap())
                .await
                .unwrap();
            if observed.breaker.is_none() {
                return Some(Account::of(&service, &user, "microsoft").await);
            }
            // Whoever asks next is the probe that closes the breaker.
            probe.refresh().await;
            None
        })
        .await;
        service.simulator.inject(
            Provider::Microsoft,
            Endpoint::Refresh,
            error(&format!("AADSTS{number}")),
            1,
        );
        let problem = account.refresh().await.expect_problem(status, code);
        assert_eq!(problem["who_must_act"], who, "{number}: {problem:#}");
        // A server's error is one by its status, before anybody looks at numbers.
        let reason = match number {
            90033 => "temporarily_unavailable".to_owned(),
            number => format!("aadsts{number}"),
        };
        assert_eq!(problem["reason"], reason, "{number}: {problem:#}");
        assert_eq!(account.view().await["status"], state, "{number}");
        // Only a dead grant costs the tokens.
        assert_eq!(account.tokens_kept(&service).await, 2, "{number}");
        // Its own retry would meet the next fault of the table.
        let path = format!("/integrations/{}", account.id);
        account.user.delete(&path).await.expect_status(200);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn microsofts_throttling_is_plain_text_and_understood() {
    let service = start().await;
    let account = Account::of(&service, "ada", "microsoft").await;
    let retry_after = Some("7".to_owned());
    service.simulator.inject(
        Provider::Microsoft,
        Endpoint::Refresh,
        Fault::TooManyRequests { retry_after },
        1,
    );
    let answer = account.refresh().await;
    let seconds: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((7..=12).contains(&seconds), "{seconds}");
    answer.expect_problem(503, "provider_unavailable");
    assert_eq!(account.view().await["status"], "degraded");
    // The pause holds for everybody: no further call goes out.
    account
        .refresh()
        .await
        .expect_problem(503, "provider_unavailable");
    assert_eq!(
        service
            .simulator
            .requests_to(Provider::Microsoft, Endpoint::Refresh)
            .len(),
        1
    );
    account.token().await.expect_status(200);
    service.stop().await;
}

/// Every account's status and reason, as stored.
async fn statuses(service: &Service) -> Vec<(String, String, Option<String>, i64)> {
    let all = "SELECT i.id::text, i.status, i.status_reason, t.failures::bigint FROM oauth_integrations i \
               JOIN oauth_tokens t ON t.integration_id = i.id ORDER BY i.id";
    let rows = service.sql().await.query(all, &[]).await.unwrap();
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect()
}

async fn a_wrong_secret_touches_nobody(provider: Provider) {
    let service = start().await;
    let mut accounts = Vec::new();
    for user in ["ada", "grace", "linus"] {
        accounts.push(Account::of(&service, user, provider.key()).await);
    }
    let before = statuses(&service).await;
    let (_, secret) = service.simulator.client(provider);
    service
        .simulator
        .set_client_secret(provider, "replaced by somebody");

    for account in &accounts {
        let problem = account.refresh().await.expect_problem(503, "provider_paused");
        assert_eq!(problem["who_must_act"], "operator", "{problem:#}");
        // What works goes on working.
        account.token().await.expect_status(200);
    }
    assert_eq!(statuses(&service).await, before);

    service.simulator.set_client_secret(provider, &secret);
    for account in &accounts {
        eventually("it recovers by itself", || async {
            (account.refresh().await.status == 200).then_some(())
        })
        .await;
        assert_eq!(account.view().await["status"], "active");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_secret_at_google_touches_no_account_and_heals_by_itself() {
    a_wrong_secret_touches_nobody(Provider::Google).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_secret_at_microsoft_touches_no_account_and_heals_by_itself() {
    a_wrong_secret_touches_nobody(Provider::Microsoft).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_secret_at_notion_touches_no_account_and_heals_by_itself() {
    a_wrong_secret_touches_nobody(Provider::Notion).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_and_a_wrong_secret_are_the_operators_matter() {
    let service = start().await;
    let account = Account::of(&service, "ada", "google").await;
    let ended = "UPDATE oauth_tokens SET issued_at = now() - interval '2 hours', expires_at = now() - interval '1 hour', \
                 next_refresh_at = now() + interval '1 hour'";
    let sql = service.sql().await;
    let database_url = Some(service.database_url.clone());
    let (simulator, _) = service.stop().await;
    assert_eq!(sql.execute(ended, &[]).await.unwrap(), 1);
    let mut options = impatient();
    options.database_url = database_url;
    options.adjust = |settings| settings.breaker_interval = Duration::from_millis(300);
    let service = Service::start_before(simulator, options).await;
    let (_, secret) = service.simulator.client(Provider::Google);
    service
        .simulator
        .set_client_secret(Provider::Google, "replaced by somebody");
    let consumer = service.service(&["*:*"]).await;
    let path = format!("/integrations/{}/token", account.id);
    let problem = consumer.get(&path).await.expect_problem(503, "provider_paused");
    assert_eq!(problem["who_must_act"], "operator");
    assert_eq!(statuses(&service).await[0].1, "active");
    service.simulator.set_client_secret(Provider::Google, &secret);
    eventually("a token is handed out again", || async {
        (consumer.get(&path).await.status == 200).then_some(())
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_of_a_single_use_provider_is_probed_once_and_then_asks_the_user() {
    let service = start().await;
    let account = Account::of(&service, "ada", "notion").await;
    service
        .simulator
        .inject(Provider::Notion, Endpoint::Refresh, Fault::LoseAnswer, 1);
    account
        .refresh()
        .await
        .expect_problem(503, "provider_unavailable");
    let view = account.view().await;
    assert_eq!(
        (&view["status"], &view["status_reason"]),
        (&json!("degraded"), &json!("outcome_unknown"))
    );
    // Its claim runs out, and it is presented once more: the provider had rotated it.
    service
        .sql()
        .await
        .execute(
            "UPDATE oauth_tokens SET claim_until = now() - interval '1 second'",
            &[],
        )
        .await
        .unwrap();
    eventually("the probe is made", || async {
        (account.refresh().await.status == 409).then_some(())
    })
    .await;
    let view = account.view().await;
    assert_eq!(
        (&view["status"], &view["status_reason"]),
        (&json!("reauth_required"), &json!("outcome_unknown"))
    );
    assert_eq!(
        service
            .simulator
            .requests_to(Provider::Notion, Endpoint::Refresh)
            .len(),
        2
    );
    service.stop().await;
}
