//! The demo user and the demo services: what a developer needs to try the API.

use std::{sync::Mutex, time::Duration};

use anyhow::Context as _;
use jsonwebtoken::{EncodingKey, Header};
use oauth_manager_actors::{
    domain::{
        client::{Allow, Policy},
        sealed::DigestPurpose,
        secret::ServiceCredential,
    },
    ports::{
        clock::Clock as _,
        store::{ClientStore as _, StoreError},
        vault::Vault as _,
    },
};
use serde::Serialize;
use url::Url;

use super::application::Application;
use crate::app::{Assembly, clock::SystemClock, new_credential};

/// The demo user, as the application would name one.
pub(super) const USER: &str = "demo-user";
const SERVICE: &str = "demo-service";
const ADMIN: &str = "demo-admin";
const APPLICATION: &str = "example-application";
/// How long the application waits for the service beside it.
const APPLICATION_PATIENCE: Duration = Duration::from_secs(30);
/// How long the demo user's JWT holds.
const USER_TOKEN_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// What `credentials.json` holds (design, section 7).
#[derive(Serialize)]
pub(super) struct Credentials {
    pub(super) base_url: String,
    pub(super) user: String,
    pub(super) user_token: String,
    pub(super) service_token: String,
    pub(super) admin_token: String,
    pub(super) session_url: Url,
    pub(super) simulator_url: String,
    pub(super) application_url: Url,
}

/// Makes the demo services and the demo user's credentials.
pub(super) async fn credentials(
    assembly: &Assembly,
    application: &Application,
    base_url: &str,
    simulator_url: &str,
    auth_secret: &str,
) -> anyhow::Result<Credentials> {
    let everything = || {
        vec![Allow {
            provider: None,
            feature: None,
        }]
    };
    let service = Policy {
        allow: everything(),
        sessions: true,
        admin: false,
    };
    let admin = Policy {
        allow: everything(),
        sessions: true,
        admin: true,
    };
    Ok(Credentials {
        base_url: base_url.to_owned(),
        user: USER.to_owned(),
        user_token: user_token(auth_secret)?,
        service_token: client(assembly, SERVICE, &service).await?.expose().to_owned(),
        admin_token: client(assembly, ADMIN, &admin).await?.expose().to_owned(),
        session_url: session_link(application).await?,
        simulator_url: simulator_url.to_owned(),
        application_url: application.own.clone(),
    })
}

fn user_token(auth_secret: &str) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Claims<'a> {
        sub: &'a str,
        iat: i64,
        exp: i64,
    }
    let now = SystemClock.now().as_second();
    let lifetime = i64::try_from(USER_TOKEN_LIFETIME.as_secs())?;
    let claims = Claims {
        sub: USER,
        iat: now,
        exp: now + lifetime,
    };
    let key = EncodingKey::from_secret(auth_secret.as_bytes());
    jsonwebtoken::encode(&Header::default(), &claims, &key).context("the demo user's token cannot be signed")
}

/// The example application, as the demo user's: whoever opens its pages on this machine is that user until they log in as
/// another.
pub(super) async fn application(
    assembly: &Assembly,
    base_url: &str,
    own: Url,
) -> anyhow::Result<Application> {
    let policy = Policy {
        allow: Vec::new(),
        sessions: true,
        admin: false,
    };
    let credential = client(assembly, APPLICATION, &policy).await?;
    // The first one wins; every later call finds it installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(Application {
        manager: base_url.parse()?,
        credential: credential.expose().to_owned(),
        own,
        everybody_is: Some(USER.to_owned()),
        http: reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(APPLICATION_PATIENCE)
            .build()?,
        logins: Mutex::default(),
    })
}

/// What the demo user opens. Made as any application makes one.
async fn session_link(application: &Application) -> anyhow::Result<Url> {
    let link = application.make_session_link(USER).await;
    let link = link.map_err(|why| anyhow::anyhow!("the session link of the demo user: {why}"))?;
    link.parse().context("the session link of the demo user")
}

/// A client with a credential of this run; those of earlier runs keep working.
async fn client(assembly: &Assembly, name: &str, policy: &Policy) -> anyhow::Result<ServiceCredential> {
    let credential = new_credential();
    let digest = assembly
        .vault
        .digest(DigestPurpose::ServiceCredential, credential.expose());
    match assembly.storage.create(name, &digest, policy).await {
        Ok(_) => {}
        Err(StoreError::Exists(_)) => {
            let added = assembly.storage.add_credential(name, &digest).await?;
            anyhow::ensure!(
                added,
                "client {name} was revoked in this data directory: begin with --fresh"
            );
        }
        Err(error) => return Err(error).with_context(|| format!("client {name}")),
    }
    Ok(credential)
}
