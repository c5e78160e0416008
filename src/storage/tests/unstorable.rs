//! Everything that a reader accepts of a provider's answer commits: read by the engine over a real socket, stored in a real
//! Postgres. And what Postgres refuses for good is told from a Postgres that is away.

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use serde_json::{Value, json};

use oauth_manager_actors::{
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::{Actor, RequestContext},
        ids::Subject,
        integration::{Standing, Status, StoredIntegration},
        reason::WhoMustAct,
        sealed::Sealed,
        secret::RefreshToken,
        token::TokenAnswer,
    },
    ports::{
        oauth::{Exchanged, OAuth as _, ProviderFailure},
        store::{
            Commit, Concluded, FailureCommit, IntegrationStore as _, RecordStore as _, RefreshCommit,
            StoreError,
        },
    },
};

use super::{fresh, scenario::*};
use crate::{
    oauth::{
        settings::{ProviderKind, ProviderSettings},
        testing::{
            engine, exchange, refresh,
            server::{Reply, Server},
            settings_at,
        },
    },
    storage::Storage,
};

const CASES: u32 = 96;
/// What sealing adds to a token, at the most.
const SEAL_BYTES: usize = 62;
/// In a generated text: becomes an escape of half a surrogate pair, which no string of ours can hold.
const LONE_SURROGATE: &str = "LONE-SURROGATE";

/// A text as somebody might send it who wishes us no good, or does not care.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "read", "openid", " ", ",", "\0", "\u{1}", "\u{1b}[2K", "\r\n", "\u{202e}", "\u{2028}", "\u{feff}", "é",
            "\u{1d518}", "\u{10ffff}", "\"", "\\", "'; --", "{}", "NULL",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => (1_usize..3000).prop_map(|length| "x".repeat(length)),
        1 => (1_usize..700).prop_map(|length| "\u{1d518}".repeat(length)),
        1 => (400_usize..700).prop_map(|count| (0..count).map(|n| format!("s{n}")).collect::<Vec<_>>().join(" ")),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => hostile().prop_map(Value::String),
        2 => prop::collection::vec(hostile(), 0..4).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => Just(Value::Null),
    ]
}

/// A token: mostly one that can be used, else the rest is not looked at.
fn token() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => "[a-z]{8}".prop_map(Value::String),
        1 => (64_900_usize..65_100).prop_map(|length| Value::String("t".repeat(length))),
        1 => value(),
    ]
}

/// The members of an answer to any question: tokens, an account, an error.
fn answer() -> impl Strategy<Value = Value> {
    let tokens = (token(), token(), value(), value(), value());
    let id = prop_oneof![3 => "[a-z]{1,9}".prop_map(Value::String), 1 => value()];
    let account = (id, value(), value(), value());
    let broken = prop_oneof![9 => hostile(), 1 => Just(LONE_SURROGATE.to_owned())];
    (tokens, account, broken, prop::option::weighted(0.1, hostile())).prop_map(
        |((access, refresh, scope, life, end), (id, name, email, more), key, error)| {
            let mut answer = json!({
                "access_token": access, "token_type": "Bearer", "scope": scope,
                "expires_in": life, "refresh_token_expires_in": end,
                "id": id, "sub": id, "name": name, "email": email, "bot_id": id, "workspace_id": "w",
                "workspace_name": name, "duplicated_template_id": more, "owner": {"user": {"id": more, "name": name}},
            });
            // Two of these lengths would be more than is read of an answer at all.
            if answer.to_string().len() < 40_000 {
                answer["refresh_token"] = refresh;
            }
            answer[key] = more;
            if let Some(error) = error {
                answer["error"] = Value::String(error);
            }
            answer
        },
    )
}

fn reply(status: u16, answer: &Value) -> Reply {
    let body = answer.to_string().replace(LONE_SURROGATE, "\\ud800");
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    Reply::Whole(status, headers, body.into_bytes())
}

fn settings(server: &Server, kind: ProviderKind) -> ProviderSettings {
    let mut settings = settings_at(server, kind);
    if kind == ProviderKind::Oauth2 {
        settings.account_id_pointer = Some("/id".to_owned());
    }
    settings
}

fn sealed(token: &str) -> Sealed {
    Sealed([token.as_bytes(), &[0; SEAL_BYTES]].concat())
}

/// What an audit row holds besides: who asked, and how.
fn audit(action: AuditAction, owner: &Subject, words: &str) -> AuditEntry {
    let context = RequestContext {
        actor: Actor::User(owner.clone()),
        request_id: words.to_owned(),
        ip: None,
        user_agent: Some(words.to_owned()),
    };
    AuditEntry {
        subject: Some(owner.clone()),
        ..AuditEntry::new(action, AuditOutcome::Failure, context)
    }
}

struct Scene {
    storage: Storage,
    owner: Subject,
    account: StoredIntegration,
}

impl Scene {
    async fn set() -> Self {
        let storage = fresh().await;
        let owner = user("alice");
        let account = connected(&storage, &owner, "1").await;
        Self {
            storage,
            owner,
            account,
        }
    }

    async fn claimed(&self) -> RefreshCommit {
        let row = self.storage.load(&self.account.id).await.unwrap().unwrap();
        let claim = claimed(&self.storage, &row.id, row.grant.unwrap().generation).await;
        refreshed(&claim, &self.owner)
    }

    /// Stores what a refresh came to, whatever that is.
    async fn store_refresh(&self, answer: Result<TokenAnswer, ProviderFailure>, words: &str) {
        let commit = self.claimed().await;
        let audit = audit(AuditAction::Refresh, &self.owner, words).with_integration(&commit.id, &self.owner);
        match answer {
            Ok(answer) => {
                let scopes = answer.scopes.unwrap_or_default();
                let refresh_token = answer.refresh_token.as_ref().map(|token| sealed(token.expose()));
                self.stores(RefreshCommit {
                    access_token: sealed(answer.access_token.expose()),
                    refresh_token,
                    token_type: answer.token_type,
                    expires_at: answer.expires_at,
                    refresh_token_expires_at: answer.refresh_token_expires_at,
                    next_refresh_at: answer.expires_at,
                    audit: AuditEntry {
                        error: answer.remark,
                        ..audit.with_scopes(scopes.clone())
                    },
                    scopes,
                    ..commit
                })
                .await;
            }
            Err(failure) => self.store_failure(failure, commit, audit).await,
        }
    }

    async fn store_failure(&self, failure: ProviderFailure, commit: RefreshCommit, audit: AuditEntry) {
        let reason = failure.reason;
        let standing = Standing::because(Status::Degraded, reason.clone(), WhoMustAct::Nobody);
        if let Some(salvaged) = &failure.salvaged {
            let salvaged: &RefreshToken = salvaged;
            self.stores(RefreshCommit {
                refresh_token: Some(sealed(salvaged.expose())),
                standing: standing.clone(),
                audit: audit.clone().with_error(reason.clone()),
                refreshed: false,
                ..commit
            })
            .await;
            return;
        }
        let failed = FailureCommit {
            id: commit.id,
            generation: commit.generation,
            attempt: commit.attempt,
            standing,
            failures: 1,
            next_refresh_at: None,
            forget_tokens: false,
            keep_claim: false,
            audit: audit.with_error(reason),
        };
        let concluded = self.storage.commit_failure(&failed).await;
        assert!(matches!(concluded, Ok(Concluded::Stored(_))), "{concluded:?}");
    }

    async fn stores(&self, commit: RefreshCommit) {
        let concluded = self.storage.commit_refresh(&commit).await;
        assert!(matches!(concluded, Ok(Concluded::Stored(_))), "{concluded:?}");
    }

    /// Stores what an exchange came to, if an account came of it.
    async fn store_exchange(&self, exchanged: Exchanged, words: &str) {
        let storage = &self.storage;
        let flow = super::scenario::exchanged(storage, &self.owner).await;
        let account = exchanged.account;
        let place = storage
            .reserve(flow.owner.user_id, &google(), &account)
            .await
            .unwrap();
        let id = place.id.clone();
        let mut commit = connection(&flow, place, &account.id);
        commit.account = account;
        commit.metadata = match exchanged.metadata {
            Value::Null => json!({}),
            kept => kept,
        };
        let answer = exchanged.answer;
        commit.scopes = answer.scopes.unwrap_or_default();
        commit.consents[0].granted_scopes = commit.scopes.clone();
        commit.consents[0].user_agent = Some(words.to_owned());
        commit.access_token = sealed(answer.access_token.expose());
        commit.refresh_token = answer.refresh_token.as_ref().map(|token| sealed(token.expose()));
        commit.token_type = answer.token_type;
        commit.expires_at = answer.expires_at;
        commit.audit = audit(AuditAction::Connect, &self.owner, words).with_scopes(commit.scopes.clone());
        assert_eq!(storage.commit_connect(&commit).await, Ok(Commit::Done));
        // And what was written can be read again.
        let row = storage.load(&id).await.unwrap().unwrap();
        assert_eq!((row.scopes, row.metadata), (commit.scopes, commit.metadata));
    }
}

/// One answer, to every question that is asked of a provider; counts what was accepted.
async fn everything_accepted_commits(scene: &Scene, status: u16, said: &Value, words: &str) -> usize {
    let mut accepted = 0;
    for kind in [ProviderKind::Oauth2, ProviderKind::Notion] {
        let server = Server::start();
        server.on("/token", reply(status, said));
        server.on("/userinfo", reply(200, said));
        let engine = engine(settings(&server, kind));
        let key = kind.as_str().parse().unwrap();
        let answer = engine.refresh(&key, refresh(Value::Null)).await;
        accepted += usize::from(answer.is_ok());
        scene.store_refresh(answer, words).await;
        match engine.exchange(&key, exchange(&["read"])).await {
            Ok(exchanged) => {
                accepted += 1;
                scene.store_exchange(exchanged, words).await;
            }
            Err(failure) => {
                let entry = audit(AuditAction::Connect, &scene.owner, words).with_error(failure.reason);
                scene.storage.append(&[entry]).await.unwrap();
            }
        }
    }
    accepted
}

#[test]
fn everything_that_the_reader_accepts_commits() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let scene = runtime.block_on(Scene::set());
    let accepted = std::cell::Cell::new(0);
    let status = prop_oneof![6 => Just(200_u16), 1 => Just(400), 1 => Just(500)];
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(CASES)
    };
    TestRunner::new(config)
        .run(&(status, answer(), hostile()), |(status, said, words)| {
            let committed = everything_accepted_commits(&scene, status, &said, &words);
            accepted.set(accepted.get() + runtime.block_on(committed));
            Ok(())
        })
        .unwrap();
    assert!(
        accepted.get() > CASES as usize,
        "only {} were accepted",
        accepted.get()
    );
}

/// The very inputs that are known to have been refused by the database.
#[tokio::test]
async fn scopes_with_nul_and_more_than_five_hundred_scopes_commit() {
    let scene = Scene::set().await;
    let many: Vec<_> = (0..501).map(|n| format!("scope.{n}")).collect();
    for scope in [
        json!("read admin\0"),
        json!("\0"),
        json!(many.join(" ")),
        json!(many),
    ] {
        let said = json!({
            "access_token": "a", "refresh_token": "r", "scope": scope, "id": "7", "name": "A\0da", "bot_id": "b",
            "workspace_id": "w", "workspace_name": "W\0", "owner": {"user": {"id": "u"}},
        });
        assert_eq!(
            everything_accepted_commits(&scene, 200, &said, "agent\0").await,
            4
        );
    }
}

#[tokio::test]
async fn what_is_refused_for_good_is_told_from_a_database_that_is_away() {
    let storage = fresh().await;
    for (state, is_for_good) in [
        ("22021", true),
        ("22P05", true),
        ("23514", true),
        ("23505", true),
        ("54000", true),
        ("25006", false),
        ("53100", false),
        ("57014", false),
        ("57P01", false),
        ("40001", false),
        ("08006", false),
    ] {
        let client = storage.system().await.unwrap();
        let sql = format!("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$");
        let error = client.batch(&sql).await.unwrap_err();
        let expected = if is_for_good {
            matches!(&error, StoreError::Refused { sqlstate, .. } if sqlstate == state)
        } else {
            matches!(error, StoreError::Unavailable(_))
        };
        assert!(expected, "{state}: {error:?}");
    }
}

#[tokio::test]
async fn an_account_id_too_long_for_its_index_is_refused_for_good() {
    let storage = fresh().await;
    let flow = super::scenario::exchanged(&storage, &user("alice")).await;
    let mut account = connected(&storage, &user("alice"), "1").await.account;
    // Incompressible, and longer than an entry of an index may be.
    let noise = |count: u32| -> String {
        let mut seed = 1_u32;
        (0..count)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                char::from_u32(0x1_0000 + (seed >> 12)).unwrap_or('x')
            })
            .collect()
    };
    account.id = noise(500);
    account.issuer = Some(noise(2000));
    let place = storage
        .reserve(flow.owner.user_id, &google(), &account)
        .await
        .unwrap();
    let mut commit = connection(&flow, place, &account.id);
    commit.account = account;
    let refused = storage.commit_connect(&commit).await;
    assert!(
        matches!(&refused, Err(StoreError::Refused { sqlstate, .. }) if sqlstate == "54000"),
        "{refused:?}"
    );
}
