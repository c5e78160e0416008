//! From configuration to the settings of each part. The parts do not know the configuration, and it does not know them.

use std::{str::FromStr as _, time::Duration};

use anyhow::Context as _;
use oauth_manager_actors::{
    domain::{
        feature::FeatureKey,
        ids::NodeId,
        provider::RefreshClass,
        scope::{Scope, ScopeSet},
    },
    settings::Settings,
};
use url::Url;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    config::{self, Config, IdleAfter, ProviderConfig},
    http::settings::{HttpSettings, JwtKeys, JwtSecret, Limits, ReturnPolicy, UserJwtSettings, WebOrigin},
    oauth::settings::{
        ClientAuth, ClientSecret, DeclaredErrors, EndpointOverrides, EngineSettings, ErrorSign,
        FeatureSettings, Nonce, Pkce, ProviderKind, ProviderSettings, TokenResponse,
    },
    storage::StorageOptions,
    vault::{Keyring, KeyringError},
};

/// How long a session link works in production: it is opened right after it was asked for.
const SESSION_LINK_LIFETIME: Duration = Duration::from_secs(10 * 60);
/// In development it is printed once and opened whenever the developer gets to it.
const SESSION_LINK_LIFETIME_DEV: Duration = Duration::from_secs(24 * 60 * 60);

/// Of the time there is to stop, the part that answers under way and clients that linger may take.
const STOP_SHARE: u32 = 3;

/// Settings of the actors.
pub(super) fn actor_settings(config: &Config) -> anyhow::Result<Settings> {
    let mut settings = Settings::new(NodeId(Uuid::now_v7()), public_url(config)?);
    settings.lease = config.timings.refresh_lease;
    settings.forced_refresh_interval = config.timings.forced_refresh_interval;
    settings.authorization_lifetime = config.timings.authorization_ttl;
    settings.shutdown_grace = config.timings.shutdown_grace;
    settings.call_deadline = config.server.request_deadline;
    settings.consent_lifetime = config.consents.lifetime;
    settings.idle_after = match config.residency.idle_after {
        IdleAfter::Never => None,
        IdleAfter::After(idle) => Some(idle),
    };
    settings.session_link_lifetime = if config.server.is_development() {
        SESSION_LINK_LIFETIME_DEV
    } else {
        SESSION_LINK_LIFETIME
    };
    Ok(settings)
}

/// Settings of the actors for a command that does one thing and ends: it looks for no work of its own.
///
/// # Errors
/// The public URL cannot be understood.
pub fn command_settings(config: &Config) -> anyhow::Result<Settings> {
    let mut settings = actor_settings(config)?;
    settings.poll_interval = Duration::from_secs(24 * 60 * 60);
    Ok(settings)
}

fn public_url(config: &Config) -> anyhow::Result<Url> {
    Url::parse(&config.server.public_url()).context("server.public_url")
}

/// Settings of the HTTP side, with room for so many connections.
pub(super) fn http_settings(config: &Config, connections_max: usize) -> anyhow::Result<HttpSettings> {
    let origins = |origins: &[config::Origin], key: &'static str| {
        origins
            .iter()
            .map(|origin| WebOrigin::from_str(origin.as_str()).context(key))
            .collect::<Result<Vec<_>, _>>()
    };
    let server = &config.server;
    let keys = match (&config.auth.hs256_secret, &config.auth.jwks_url) {
        (Some(secret), _) => Some(JwtKeys::Hs256(JwtSecret::new(secret.expose().as_bytes()))),
        (None, Some(_)) => Some(JwtKeys::Jwks),
        (None, None) => None,
    };
    Ok(HttpSettings {
        public_url: public_url(config)?,
        development: server.is_development(),
        service_version: env!("CARGO_PKG_VERSION").into(),
        allowed_origins: origins(&server.allowed_origins, "server.allowed_origins")?,
        returns: ReturnPolicy {
            allowed_return_urls: server
                .allowed_return_urls
                .iter()
                .map(|entry| entry.url().clone())
                .collect(),
            allow_loopback: server.is_development(),
        },
        trusted_proxies: server
            .trusted_proxies
            .iter()
            .map(|proxy| proxy.network())
            .collect(),
        measured: server.metrics_listen.is_some(),
        limits: Limits {
            connections_max,
            connections_per_address_max: connections_max
                .saturating_mul(usize::from(config.limits.connections_per_address_percent))
                .div_ceil(100),
            requests_max: config.limits.requests,
            requests_per_user_max: config.limits.requests_per_user,
            requests_per_service_max: config.limits.requests_per_service,
            user_requests_per_minute: config.limits.user_requests_per_minute,
            service_flows_per_minute: config.limits.service_flows_per_minute,
            failures_per_minute: config.limits.failures_per_minute,
            // What is answered must be answered early enough for what it has begun to be stored.
            stop_grace: config.timings.shutdown_grace / STOP_SHARE,
            body_bytes_max: usize::try_from(server.body_limit_bytes).unwrap_or(usize::MAX),
            ..Limits::default()
        },
        user_jwt: keys.map(|keys| UserJwtSettings {
            keys,
            issuer: config.auth.issuer.clone(),
            audience: config.auth.audience.clone(),
            leeway: config.auth.leeway,
        }),
    })
}

/// Settings of the database.
pub(super) fn storage_options(config: &Config) -> StorageOptions {
    let database = &config.database;
    StorageOptions {
        url: database.url().to_owned(),
        max_connections: database.max_connections,
        wait_timeout: database.wait_timeout,
        connect_timeout: database.connect_timeout,
        statement_timeout: database.statement_timeout,
    }
}

/// The keyring.
pub(super) fn keyring(config: &Config) -> Result<Keyring, KeyringError> {
    let keys = config.encryption.keys.iter();
    Keyring::new(
        keys.map(|key| (key.id().to_owned(), Zeroizing::new(*key.expose())))
            .collect(),
    )
}

/// Settings of the engine and its providers.
pub(super) fn engine_settings(config: &Config) -> anyhow::Result<(EngineSettings, Vec<ProviderSettings>)> {
    let settings = EngineSettings {
        deadline: config.timings.provider_deadline,
        ..EngineSettings::default()
    };
    let providers = config.providers.iter().map(|(key, provider)| {
        let mut settings = provider_settings(key, provider)?;
        for (feature, version) in &config.consents.wording {
            let path = || format!("consents.wording.\"{feature}\"");
            let feature: FeatureKey = feature.parse().with_context(path)?;
            if feature.provider() == key {
                settings
                    .wording_versions
                    .insert(feature, version.parse().with_context(path)?);
            }
        }
        Ok(settings)
    });
    Ok((settings, providers.collect::<anyhow::Result<_>>()?))
}

fn provider_settings(key: &str, config: &ProviderConfig) -> anyhow::Result<ProviderSettings> {
    let path = |field: &str| format!("providers.{key}.{field}");
    let kind = match (config.kind, key) {
        (Some(config::ProviderKind::Oidc), _) => ProviderKind::Oidc,
        (Some(config::ProviderKind::Oauth2), _) => ProviderKind::Oauth2,
        (None, "google") => ProviderKind::Google,
        (None, "microsoft") => ProviderKind::Microsoft,
        (None, "notion") => ProviderKind::Notion,
        (None, "youtube") => ProviderKind::Youtube,
        (None, _) => anyhow::bail!("{}: say oidc or oauth2", path("type")),
    };
    let text =
        |endpoint: &Option<config::Endpoint>| endpoint.as_ref().map(|endpoint| endpoint.as_str().to_owned());
    let mut settings = ProviderSettings::new(key.parse().with_context(|| format!("providers.{key}"))?, kind);
    settings.display_name.clone_from(&config.display_name);
    settings.client_id.clone_from(&config.client_id);
    settings.client_secret = config.client_secret.as_ref().map(client_secret);
    settings.client_secret_next = config.client_secret_next.as_ref().map(client_secret);
    settings.client_auth = config.client_auth.map(|auth| match auth {
        config::ClientAuth::Basic => ClientAuth::Basic,
        config::ClientAuth::Post => ClientAuth::Post,
        config::ClientAuth::None => ClientAuth::None,
    });
    settings.endpoints = EndpointOverrides {
        issuer: text(&config.issuer),
        authorization: text(&config.authorization_endpoint),
        token: text(&config.token_endpoint),
        revocation: text(&config.revocation_endpoint),
        userinfo: text(&config.userinfo_endpoint),
        jwks: text(&config.jwks_uri),
        api: text(&config.api_endpoint),
        discovery: text(&config.discovery_url),
    };
    settings.tenant.clone_from(&config.tenant);
    settings.notion_version.clone_from(&config.notion_version);
    if !config.capabilities.is_empty() {
        settings.notion_capabilities = Some(config.capabilities.iter().collect::<ScopeSet>());
    }
    settings.scope_separator.clone_from(&config.scope_separator);
    settings.pkce = match config.pkce {
        Some(config::Pkce::Off) => Pkce::Off,
        Some(config::Pkce::S256) | None => Pkce::S256,
    };
    settings.refresh_class = config.refresh_class.map(|class| match class {
        config::RefreshClass::Safe => RefreshClass::Safe,
        config::RefreshClass::Grace(window) => RefreshClass::Grace { window },
        config::RefreshClass::SingleUse => RefreshClass::SingleUse,
    });
    settings.refresh_margin = config.refresh_margin;
    settings.keep_alive = config.keep_alive;
    settings.refresh_token_lifetime = config.refresh_token_lifetime();
    settings.max_concurrency = config.max_concurrency;
    settings.rate = config.rate;
    settings.allow_loopback = config.allow_loopback;
    settings.allow_private_network = config.allow_private_network;
    settings
        .extra_authorize_params
        .clone_from(&config.authorize_params);
    settings.account_id_pointer.clone_from(&config.account_id_pointer);
    settings.token_response = token_response(&config.token_response);
    for (scope, config) in &config.scopes {
        let wider = config.implied_by.iter().collect();
        settings.implied_by.insert(Scope::new(scope), wider);
    }
    settings.errors = declared_errors(&config.errors);
    for (key, feature) in &config.features {
        settings.features.push(FeatureSettings {
            key: key.parse().with_context(|| path("features"))?,
            display_name: feature.display_name.clone(),
            description: feature.description.clone(),
            scopes: feature.scopes.iter().collect(),
            optional_scopes: feature.optional_scopes.iter().collect(),
            danger: feature.danger.clone(),
            work_account_only: feature.work_account_only,
            default: feature.default,
        });
    }
    Ok(settings)
}

fn token_response(config: &config::TokenResponseConfig) -> TokenResponse {
    let members = config.members.given();
    TokenResponse {
        token_types: config.token_types.clone(),
        token_pointer: config.token_pointer.clone(),
        members: members
            .map(|(usual, theirs)| (usual, theirs.to_owned()))
            .collect(),
        nonce: match config.nonce {
            Some(config::Nonce::Optional) => Nonce::Optional,
            Some(config::Nonce::Required) | None => Nonce::Required,
        },
    }
}

fn declared_errors(errors: &config::ProviderErrors) -> DeclaredErrors {
    let sign = |sign: &config::ErrorSign| match sign {
        config::ErrorSign::Code(code) => ErrorSign::Code(code.clone()),
        config::ErrorSign::Value { pointer, equals } => ErrorSign::Value {
            pointer: pointer.clone(),
            equals: match equals {
                config::SignValue::Bool(value) => (*value).into(),
                config::SignValue::Number(value) => (*value).into(),
                config::SignValue::Text(value) => value.as_str().into(),
            },
        },
    };
    let list = |signs: &[config::ErrorSign]| signs.iter().map(sign).collect();
    DeclaredErrors {
        dead: list(&errors.dead),
        client: list(&errors.client),
        admin: list(&errors.admin),
        transient: list(&errors.transient),
    }
}

fn client_secret(secret: &config::SecretString) -> ClientSecret {
    let value = ClientSecret::new(secret.expose());
    match secret.file() {
        Some(file) => value.from_file(file),
        None => value,
    }
}
