//! What the providers know outlives the simulator.

use std::path::PathBuf;

use serde_json::json;
use tokio::net::TcpListener;

use super::{Bench, bench_with, text};
use crate::dev::simulator::Provider::{Google, Microsoft, Notion, Oidc, YouTube};
use crate::dev::simulator::{Consent, Settings, Simulator, SimulatorConfig};

/// A file of this test's own.
struct Kept(PathBuf);

impl Kept {
    fn new() -> Self {
        let name = format!("oauth-manager-simulator-{}.json", uuid::Uuid::now_v7().simple());
        Self(std::env::temp_dir().join(name))
    }

    fn config(&self) -> SimulatorConfig {
        SimulatorConfig {
            settings: Settings {
                consent: Consent::Auto,
                ..Settings::default()
            },
            kept_in: Some(self.0.clone()),
            ..SimulatorConfig::default()
        }
    }

    async fn bench(&self) -> Bench {
        bench_with(self.config()).await
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn grants_tokens_codes_and_secrets_are_known_after_a_restart() {
    let kept = Kept::new();
    let bench = kept.bench().await;
    let google = [("scope", "openid"), ("access_type", "offline")];
    let offline = [("scope", "openid offline_access Mail.Read")];
    let google = bench.connect(Google, &google).await;
    let microsoft = bench.connect(Microsoft, &offline).await;
    let notion = bench.connect(Notion, &[]).await;
    let strict = bench.connect(Oidc, &[("scope", "openid offline_access")]).await;
    let spent = text(&strict, "refresh_token");
    let rotated = bench.refresh(Oidc, spent).await.json();
    let code = bench.code(Notion, &[("_sim_user", "ben")]).await;
    let secret = json!({ "provider": "youtube", "client_secret": "another" });
    assert_eq!(bench.post_json("_sim/secret", secret).await.status, 200);
    bench
        .post_json("_sim/revoke", json!({ "provider": "google" }))
        .await;
    // Dropped, not stopped: nobody says goodbye.
    drop(bench);

    let bench = kept.bench().await;
    let simulator = &bench.simulator;
    assert_eq!(simulator.client(YouTube).1, "another");
    assert!(simulator.access_token_is_live(text(&notion, "access_token")));
    for (provider, tokens, status) in [
        (Microsoft, &microsoft, 200),
        (Notion, &notion, 200),
        (Google, &google, 400),
    ] {
        let refreshed = bench.refresh(provider, text(tokens, "refresh_token")).await;
        assert_eq!(refreshed.status, status, "{provider:?}: {}", refreshed.text);
    }
    assert_eq!(bench.exchange(Notion, &code).await.status, 200);
    assert_eq!(
        bench.refresh(Notion, text(&notion, "refresh_token")).await.status,
        400
    );
    // It was spent before the restart: whoever presents it now is a thief, or was robbed.
    assert_eq!(bench.refresh(Oidc, spent).await.status, 400);
    let family = bench.refresh(Oidc, text(&rotated, "refresh_token")).await;
    assert_eq!(family.status, 400);
}

#[tokio::test]
async fn a_file_that_is_not_the_simulators_is_not_taken_for_an_empty_one() {
    let kept = Kept::new();
    std::fs::write(&kept.0, "{\"clients\": [").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = Simulator::start(listener, kept.config()).unwrap_err().to_string();
    assert!(refused.contains(kept.0.to_str().unwrap()), "{refused}");
    std::fs::remove_file(&kept.0).unwrap();
    kept.bench().await.simulator.stop().await;
}
