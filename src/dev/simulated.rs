//! Configuration that points providers at the simulator: their own dialects, at other addresses.

use std::fmt::Write as _;

use super::simulator::{Provider, Simulator};

/// The `[providers.<key>]` table of a built-in provider, simulated.
pub fn provider_toml(simulator: &Simulator, provider: Provider) -> String {
    let (key, endpoints) = addresses(simulator, provider);
    let (client_id, client_secret) = simulator.client(provider);
    let mut toml = format!("[providers.{key}]\nallow_loopback = true\n");
    let mut line = |name: &str, value: &str| {
        // Writing into a String cannot fail.
        let _ = writeln!(toml, "{name} = {}", toml::Value::from(value));
    };
    line("client_id", &client_id);
    line("client_secret", &client_secret);
    if provider != Provider::Oidc {
        line(
            "api_endpoint",
            simulator.provider_url(provider).trim_end_matches('/'),
        );
    }
    for (name, address) in endpoints {
        line(name, &address);
    }
    toml
}

fn addresses(simulator: &Simulator, provider: Provider) -> (&'static str, Vec<(&'static str, String)>) {
    let at = |path: &str| format!("{}{path}", simulator.provider_url(provider).trim_end_matches('/'));
    let google = |at: &dyn Fn(&str) -> String| {
        vec![
            // Google and YouTube share one authorization server, and so one issuer.
            (
                "issuer",
                simulator
                    .provider_url(Provider::Google)
                    .trim_end_matches('/')
                    .to_owned(),
            ),
            ("authorization_endpoint", at("/o/oauth2/v2/auth")),
            ("token_endpoint", at("/token")),
            ("revocation_endpoint", at("/revoke")),
            ("jwks_uri", at("/oauth2/v3/certs")),
        ]
    };
    match provider {
        Provider::Google => {
            let mut endpoints = google(&at);
            endpoints.push(("userinfo_endpoint", at("/v1/userinfo")));
            ("google", endpoints)
        }
        Provider::YouTube => {
            let mut endpoints = google(&at);
            endpoints.push(("userinfo_endpoint", at("/youtube/v3/channels")));
            ("youtube", endpoints)
        }
        Provider::Microsoft => (
            "microsoft",
            vec![
                ("issuer", at("/{tenantid}/v2.0")),
                ("authorization_endpoint", at("/{tenant}/oauth2/v2.0/authorize")),
                ("token_endpoint", at("/{tenant}/oauth2/v2.0/token")),
                ("userinfo_endpoint", at("/oidc/userinfo")),
                ("jwks_uri", at("/{tenant}/discovery/v2.0/keys")),
            ],
        ),
        Provider::Notion => (
            "notion",
            vec![
                ("authorization_endpoint", at("/v1/oauth/authorize")),
                ("token_endpoint", at("/v1/oauth/token")),
                ("revocation_endpoint", at("/v1/oauth/revoke")),
                ("userinfo_endpoint", at("/v1/users/me")),
            ],
        ),
        Provider::Oidc => ("oidc", vec![("issuer", at(""))]),
    }
}
