//! The providers of the corpus that nobody wrote code for, as an operator declares them: endpoints, and the words of the
//! provider's documentation where the common ones do not say enough.

use std::{collections::BTreeSet, fmt::Write as _};

use oauth_manager::dev::simulator::{
    Client, Consent, Provider, RedirectUris, Rotation, Settings, Simulator, SimulatorConfig,
};
use tokio::net::TcpListener;

/// Those with a dialect of their own.
pub const BUILT_IN: [(&str, Provider); 4] = [
    ("google", Provider::Google),
    ("microsoft", Provider::Microsoft),
    ("notion", Provider::Notion),
    ("youtube", Provider::YouTube),
];

/// OpenID providers among the others; the rest are plain OAuth 2 servers.
const OPENID: [&str; 3] = ["auth0", "keycloak", "okta"];

/// `errors.*` where an operator who has read the provider's documentation would write any; most providers need nothing.
const ERRORS: &[(&str, &str)] = &[
    (
        "facebook",
        "dead = [{ pointer = \"/error/code\", equals = 190 }, \
                 { pointer = \"/error/message\", equals = \"Invalid verification code format.\" }]\n\
         client = [{ pointer = \"/error/code\", equals = 191 }]\n\
         transient = [{ pointer = \"/error/code\", equals = 4 }]\n",
    ),
    (
        "salesforce",
        "admin = [{ pointer = \"/error_description\", equals = \"user hasn't approved this consumer\" }]\n",
    ),
    (
        "shopify",
        "dead = [{ pointer = \"/error_description\", equals = \"Invalid subject token\" }]\n",
    ),
    (
        "strava",
        "dead = [{ pointer = \"/errors/0/resource\", equals = \"RefreshToken\" }]\n",
    ),
    ("zoho", "transient = [\"Access Denied\"]\n"),
    (
        "zoom",
        "dead = [{ pointer = \"/reason\", equals = \"Invalid Token!\" }]\n",
    ),
];

/// Which of the simulator's providers stands behind this one.
pub fn simulated(provider: &str) -> Provider {
    let known = BUILT_IN.iter().find(|(key, _)| *key == provider);
    known.map_or(Provider::Oidc, |(_, simulated)| *simulated)
}

fn secret(provider: &str) -> String {
    format!("the secret of {provider} & more")
}

/// A simulator whose generic provider knows a client of each of these, so that each is limited and judged by itself.
pub async fn simulator(providers: &BTreeSet<String>) -> Simulator {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let clients = providers
        .iter()
        .filter(|provider| simulated(provider) == Provider::Oidc)
        .map(|provider| Client {
            provider: Provider::Oidc,
            client_id: format!("client-of-{provider}"),
            client_secret: secret(provider),
            display_name: provider.clone(),
            redirect_uris: RedirectUris::AnyLoopback,
            rotation: Rotation::Strict,
            access_token_lifetime: None,
        });
    let config = SimulatorConfig {
        settings: Settings {
            consent: Consent::Auto,
            ..Settings::default()
        },
        clients: clients.collect(),
        ..SimulatorConfig::default()
    };
    Simulator::start(listener, config).unwrap()
}

/// What configuration alone says of them.
pub fn toml(simulator: &Simulator, providers: &BTreeSet<String>) -> String {
    let at = simulator.provider_url(Provider::Oidc);
    let mut toml = String::new();
    for key in providers
        .iter()
        .filter(|provider| simulated(provider) == Provider::Oidc)
    {
        let kind = if OPENID.contains(&key.as_str()) {
            format!("type = \"oidc\"\nissuer = \"{at}\"\n")
        } else {
            format!(
                "type = \"oauth2\"\nauthorization_endpoint = \"{at}/authorize\"\ntoken_endpoint = \"{at}/token\"\n\
                 revocation_endpoint = \"{at}/revoke\"\nuserinfo_endpoint = \"{at}/userinfo\"\n\
                 account_id_pointer = \"/sub\"\n"
            )
        };
        let secret = secret(key);
        write!(
            toml,
            "[providers.{key}]\n{kind}display_name = \"{key}\"\nclient_id = \"client-of-{key}\"\n\
             client_secret = \"{secret}\"\nrefresh_class = \"single_use\"\nallow_loopback = true\n\
             [providers.{key}.features]\n\"{key}.profile\" = [\"openid\", \"profile\", \"offline_access\"]\n"
        )
        .unwrap();
        if let Some((_, errors)) = ERRORS.iter().find(|(provider, _)| provider == key) {
            write!(toml, "[providers.{key}.errors]\n{errors}").unwrap();
        }
    }
    toml
}
