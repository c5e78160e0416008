//! The simulator against plain HTTP over real sockets.

mod archive;
mod consent;
mod control;
mod faults;
mod google;
mod microsoft;
mod notion;
mod oidc;

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use super::{Consent, Provider, Settings, Simulator, SimulatorConfig};

pub const CALLBACK: &str = "http://127.0.0.1:9/callback";
/// The pair from RFC 7636, appendix B.
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A simulator and a browser that follows no redirects.
pub struct Bench {
    pub simulator: Simulator,
    pub http: reqwest::Client,
}

#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Got {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// The parameters of the redirect back to the application.
    pub fn callback(&self) -> HashMap<String, String> {
        assert!(
            matches!(self.status, 302 | 303),
            "no redirect: {} {}",
            self.status,
            self.text
        );
        Url::parse(self.header("location"))
            .unwrap()
            .query_pairs()
            .into_owned()
            .collect()
    }

    /// Status and `error` of a refusal.
    pub fn refusal(&self) -> (u16, String) {
        let body = self.json();
        let code = body["error"]
            .as_str()
            .or(body["code"].as_str())
            .unwrap_or_default();
        (self.status, code.to_owned())
    }
}

pub async fn bench() -> Bench {
    bench_with(SimulatorConfig {
        settings: Settings {
            consent: Consent::Auto,
            ..Settings::default()
        },
        ..SimulatorConfig::default()
    })
    .await
}

pub async fn bench_with(config: SimulatorConfig) -> Bench {
    // Another test may have installed it already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let simulator = Simulator::start(listener, config).unwrap();
    let http = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    Bench { simulator, http }
}

pub fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

impl Bench {
    pub fn url(&self, path: &str) -> String {
        self.simulator.url().join(path).unwrap().into()
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Got> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Got {
            status,
            headers,
            text: response.text().await?,
        })
    }

    pub async fn get(&self, path: &str) -> Got {
        self.send(self.http.get(self.url(path))).await.unwrap()
    }

    pub async fn get_as(&self, path: &str, token: &str) -> Got {
        let request = self
            .http
            .get(self.url(path))
            .header("authorization", format!("Bearer {token}"));
        self.send(request.header("notion-version", "2025-09-03"))
            .await
            .unwrap()
    }

    pub async fn post_json(&self, path: &str, body: Value) -> Got {
        let request = self
            .http
            .post(self.url(path))
            .header("content-type", "application/json");
        self.send(request.body(body.to_string())).await.unwrap()
    }

    pub fn form_request(&self, path: &str, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let request = self.http.post(self.url(path));
        request
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form(fields))
    }

    fn paths(provider: Provider) -> (&'static str, &'static str) {
        match provider {
            Provider::Google => ("google/o/oauth2/v2/auth", "google/token"),
            Provider::YouTube => ("youtube/o/oauth2/v2/auth", "youtube/token"),
            Provider::Microsoft => (
                "microsoft/common/oauth2/v2.0/authorize",
                "microsoft/common/oauth2/v2.0/token",
            ),
            Provider::Notion => ("notion/v1/oauth/authorize", "notion/v1/oauth/token"),
            Provider::Oidc => ("oidc/authorize", "oidc/token"),
        }
    }

    /// An authorization URL as a careful client makes it; `changes` replace parameters, empty ones remove them.
    pub fn authorization_url(&self, provider: Provider, changes: &[(&str, &str)]) -> String {
        let (client_id, _) = self.simulator.client(provider);
        let mut parameters: Vec<(&str, &str)> = vec![
            ("response_type", "code"),
            ("client_id", &client_id),
            ("redirect_uri", CALLBACK),
            ("state", "a state"),
            ("nonce", "a nonce"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        if provider == Provider::Notion {
            parameters.push(("owner", "user"));
        }
        for (name, value) in changes {
            parameters.retain(|(known, _)| known != name);
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        self.url(&format!("{}?{}", Self::paths(provider).0, form(&parameters)))
    }

    pub async fn authorize(&self, provider: Provider, changes: &[(&str, &str)]) -> Got {
        self.send(self.http.get(self.authorization_url(provider, changes)))
            .await
            .unwrap()
    }

    pub async fn code(&self, provider: Provider, changes: &[(&str, &str)]) -> String {
        let callback = self.authorize(provider, changes).await.callback();
        assert_eq!(callback["state"], "a state");
        callback["code"].clone()
    }

    pub fn token_request(&self, provider: Provider, fields: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let (id, secret) = self.simulator.client(provider);
        let path = Self::paths(provider).1;
        if provider == Provider::Notion {
            let body: serde_json::Map<String, Value> = fields
                .iter()
                .map(|(name, value)| ((*name).to_owned(), json!(value)))
                .collect();
            return self
                .http
                .post(self.url(path))
                .header(
                    "authorization",
                    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))),
                )
                .header("content-type", "application/json")
                .header("notion-version", "2025-09-03")
                .body(Value::Object(body).to_string());
        }
        let credentials = STANDARD.encode(format!("{}:{}", encode(&id), encode(&secret)));
        self.form_request(path, fields)
            .header("authorization", format!("Basic {credentials}"))
    }

    pub async fn exchange(&self, provider: Provider, code: &str) -> Got {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", CALLBACK),
        ];
        if provider != Provider::Notion {
            fields.push(("code_verifier", VERIFIER));
        }
        self.send(self.token_request(provider, &fields)).await.unwrap()
    }

    pub async fn refresh(&self, provider: Provider, refresh_token: &str) -> Got {
        self.try_refresh(provider, refresh_token).await.unwrap()
    }

    pub async fn try_refresh(&self, provider: Provider, refresh_token: &str) -> reqwest::Result<Got> {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        self.send(self.token_request(provider, &fields)).await
    }

    /// Consent and exchange, both expected to work.
    pub async fn connect(&self, provider: Provider, changes: &[(&str, &str)]) -> Value {
        let code = self.code(provider, changes).await;
        let got = self.exchange(provider, &code).await;
        assert_eq!(got.status, 200, "{}", got.text);
        got.json()
    }

    /// The claims of an ID token, if its signature fits the published keys.
    pub async fn verify(
        &self,
        jwks_path: &str,
        token: &Value,
        audience: &str,
    ) -> Result<Value, jsonwebtoken::errors::Error> {
        use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
        let jwks = self.get(jwks_path).await.json();
        let token = token.as_str().unwrap();
        let header = decode_header(token)?;
        let keys = jwks["keys"].as_array().unwrap();
        let key = keys
            .iter()
            .find(|key| key["kid"].as_str() == header.kid.as_deref());
        let Some(key) = key else {
            return Err(jsonwebtoken::errors::ErrorKind::InvalidSignature.into());
        };
        let key =
            DecodingKey::from_rsa_components(key["n"].as_str().unwrap(), key["e"].as_str().unwrap()).unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[audience]);
        decode::<Value>(token, &key, &validation).map(|data| data.claims)
    }
}

pub fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {value}"))
}
