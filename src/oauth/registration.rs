//! One provider as we are registered there: its facts, the operator's settings on top, and its dialect. Everything that
//! can be checked before the first request is checked here.

use std::{
    fmt::{self, Write as _},
    sync::Arc,
};

use jsonwebtoken::Algorithm;
use oauth_manager_actors::domain::{
    provider::{BudgetKey, Provider, RevocationSupport},
    reserved_parameter,
    scope::ScopeSet,
};
use url::Url;

use super::{
    address::AddressPolicy,
    catalogue,
    client_secrets::ClientSecrets,
    declaration::{Dialect, Facts, RevokeRule},
    discovery::{self, Discovered},
    google::Google,
    microsoft::Microsoft,
    notion::Notion,
    oauth2::Oauth2,
    oidc::Oidc,
    settings::{ClientAuth, InvalidSettings, ProviderKind, ProviderSettings},
    youtube::Youtube,
};

/// A provider, ready to be spoken to.
pub(super) struct Registration {
    pub(super) provider: Arc<Provider>,
    pub(super) dialect: Box<dyn Dialect>,
    pub(super) settings: ProviderSettings,
    pub(super) secrets: ClientSecrets,
    pub(super) policy: AddressPolicy,
    /// Accepted values of `iss`.
    pub(super) issuers: Vec<String>,
    /// Where the discovery document is, if one is needed.
    pub(super) discovery: Option<Url>,
}

/// The endpoints of one call, all from the same source.
pub(super) struct Endpoints {
    pub(super) authorization: Url,
    pub(super) token: Url,
    pub(super) revocation: Option<Url>,
    pub(super) userinfo: Option<Url>,
    pub(super) jwks: Option<Url>,
    pub(super) client_auth: ClientAuth,
    pub(super) algorithms: Vec<Algorithm>,
}

impl Registration {
    pub(super) fn new(settings: ProviderSettings) -> Result<Self, InvalidSettings> {
        let invalid = |problem: &str| InvalidSettings::new(&settings.key, problem);
        let entry = catalogue::entry(&settings)?;
        let scopes = entry.features.iter().flat_map(|feature| &feature.scopes);
        let catalogued: ScopeSet = scopes.map(|spec| &spec.scope).collect();
        let dialect: Box<dyn Dialect> = match settings.kind {
            ProviderKind::Google => Box::new(Google),
            ProviderKind::Youtube => Box::new(Youtube),
            ProviderKind::Microsoft => {
                let tenant = settings.tenant.as_deref();
                Box::new(Microsoft::new(tenant, entry.base_scopes.clone(), catalogued).map_err(invalid)?)
            }
            ProviderKind::Notion => {
                let version = settings.notion_version.as_deref();
                Box::new(Notion::new(version, settings.notion_capabilities.as_ref()).map_err(invalid)?)
            }
            ProviderKind::Oidc => Box::new(Oidc),
            ProviderKind::Oauth2 => Box::new(Oauth2),
        };
        let facts = dialect.facts();
        let provider = Provider {
            key: settings.key.clone(),
            display_name: entry.display_name,
            configured: is_configured(&settings),
            base_scopes: entry.base_scopes,
            features: entry.features,
            open_scopes: settings.open_scopes,
            reports_scopes: facts.reports_scopes,
            incremental: facts.incremental,
            shares_grants: facts.revoke == RevokeRule::WholeGrant,
            refresh_class: settings.refresh_class.unwrap_or(facts.refresh_class),
            refresh_margin: settings.refresh_margin,
            budget: budget(&settings, facts),
            rate: settings.rate,
            keep_alive: settings.keep_alive.or(facts.keep_alive),
            refresh_token_lifetime: settings.refresh_token_lifetime,
            max_concurrency: settings.max_concurrency.unwrap_or(facts.max_concurrency).max(1),
            narrows: facts.narrows,
            revocation: revocation_support(&settings, facts),
        };
        let registration = Self {
            provider: Arc::new(provider),
            issuers: issuers(&settings, facts),
            policy: AddressPolicy {
                loopback: settings.allow_loopback,
                private: settings.allow_private_network,
            },
            discovery: None,
            dialect,
            secrets: ClientSecrets::new(&settings),
            settings,
        };
        registration.checked()
    }

    /// Checks what a configured provider needs, so that a mistake is found at the start and not by the first user.
    fn checked(mut self) -> Result<Self, InvalidSettings> {
        let invalid = |problem: String| InvalidSettings::new(&self.settings.key, problem);
        for (name, value) in &self.settings.extra_authorize_params {
            if let Some(refusal) = reserved_parameter::refusal(name, value) {
                return Err(invalid(format!("authorize_params: {name} {refusal}")));
            }
        }
        let endpoints = &self.settings.endpoints;
        for (name, template) in [
            ("authorization endpoint", &endpoints.authorization),
            ("token endpoint", &endpoints.token),
            ("revocation endpoint", &endpoints.revocation),
            ("userinfo endpoint", &endpoints.userinfo),
            ("jwks endpoint", &endpoints.jwks),
            ("discovery document", &endpoints.discovery),
            ("interface's address", &endpoints.api),
        ] {
            if let Some(template) = template {
                self.fill(template, self.dialect.tenant(&serde_json::Value::Null))
                    .map_err(|problem| invalid(format!("{name} {problem}")))?;
            }
        }
        let is_oidc = self.settings.kind == ProviderKind::Oidc;
        let is_complete =
            endpoints.authorization.is_some() && endpoints.token.is_some() && endpoints.jwks.is_some();
        if endpoints.discovery.is_some() || (is_oidc && !is_complete) {
            let issuer = self
                .issuers
                .first()
                .ok_or_else(|| invalid("needs an issuer".to_owned()))?;
            let address = endpoints
                .discovery
                .clone()
                .unwrap_or_else(|| discovery::address(issuer));
            let url = self
                .policy
                .accept(&address)
                .map_err(|problem| invalid(format!("issuer {problem}")))?;
            self.discovery = Some(url);
        } else if self.settings.kind == ProviderKind::Oauth2
            && (endpoints.authorization.is_none() || endpoints.token.is_none())
        {
            return Err(invalid(
                "needs an authorization endpoint and a token endpoint".to_owned(),
            ));
        } else if is_oidc && self.issuers.is_empty() {
            return Err(invalid("needs an issuer".to_owned()));
        }
        Ok(self)
    }

    /// The endpoints for a tenant: what is configured, else what was discovered, else the provider's own.
    pub(super) fn endpoints(
        &self,
        tenant: &str,
        discovered: Option<&Discovered>,
    ) -> Result<Endpoints, &'static str> {
        let facts = self.dialect.facts();
        let configured = &self.settings.endpoints;
        let pick = |configured: &Option<String>,
                    found: Option<&Option<Url>>,
                    own: &str|
         -> Result<Option<Url>, &'static str> {
            match (configured, found) {
                (Some(template), _) => self.fill(template, tenant).map(Some),
                (None, Some(found)) => Ok(found.clone()),
                (None, None) if own.is_empty() => Ok(None),
                (None, None) => self.fill(own, tenant).map(Some),
            }
            .map_err(|_| "endpoint_unusable")
        };
        Ok(Endpoints {
            authorization: pick(
                &configured.authorization,
                discovered.map(|d| &d.authorization),
                facts.authorization,
            )?
            .ok_or("authorization_endpoint_unknown")?,
            token: pick(&configured.token, discovered.map(|d| &d.token), facts.token)?
                .ok_or("token_endpoint_unknown")?,
            revocation: pick(
                &configured.revocation,
                discovered.map(|d| &d.revocation),
                facts.revocation,
            )?,
            userinfo: pick(
                &configured.userinfo,
                discovered.map(|d| &d.userinfo),
                facts.userinfo,
            )?,
            jwks: pick(&configured.jwks, discovered.map(|d| &d.jwks), facts.jwks)?,
            client_auth: self.client_auth(discovered),
            algorithms: match discovered {
                Some(discovered) => discovered.algorithms.clone(),
                None => facts.algorithms.to_vec(),
            },
        })
    }

    fn client_auth(&self, discovered: Option<&Discovered>) -> ClientAuth {
        let usual = self.dialect.facts().client_auth;
        match self.settings.client_auth {
            Some(configured) => configured,
            None if self.settings.client_secret.is_none() => ClientAuth::None,
            None => usual
                .or(discovered.map(|discovered| discovered.client_auth))
                .unwrap_or(ClientAuth::Basic),
        }
    }

    fn fill(&self, template: &str, tenant: &str) -> Result<Url, &'static str> {
        self.policy.accept(&template.replace("{tenant}", tenant))
    }

    pub(super) fn client_id(&self) -> &str {
        self.settings.client_id.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// A client id, and a secret unless the operator declared a public client or the protocol allows one.
fn is_configured(settings: &ProviderSettings) -> bool {
    let has_id = settings.client_id.as_deref().is_some_and(|id| !id.is_empty());
    let may_be_public = settings.client_auth == Some(ClientAuth::None)
        || matches!(settings.kind, ProviderKind::Oidc | ProviderKind::Oauth2);
    has_id && (settings.client_secret.is_some() || may_be_public)
}

/// What calls are counted against: providers throttle and refuse a client at a token endpoint, so that is the name. Of the
/// client id only a digest is in it, as names are shown; where the endpoint has to be discovered the issuer stands for it.
/// Microsoft's tenants are one: the service behind them is.
fn budget(settings: &ProviderSettings, facts: &Facts) -> BudgetKey {
    let endpoints = &settings.endpoints;
    let configured = [&endpoints.token, &endpoints.discovery, &endpoints.issuer];
    let endpoint = configured
        .into_iter()
        .flatten()
        .next()
        .map_or(facts.token, String::as_str);
    let client_id = match settings.client_id.as_deref() {
        Some(id) if !id.is_empty() => id,
        // Nothing to share.
        _ => return BudgetKey::new(settings.key.as_str()),
    };
    let digest = ring::digest::digest(
        &ring::digest::SHA256,
        format!("{endpoint}\n{client_id}").as_bytes(),
    );
    let host = Url::parse(&endpoint.replace("{tenant}", "tenant"))
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    let mut name = format!("{}#", host.as_deref().unwrap_or(settings.key.as_str()));
    for byte in &digest.as_ref()[..8] {
        // Writing into a String cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    BudgetKey::new(&name)
}

/// A configured issuer replaces the provider's own, all of its spellings.
fn issuers(settings: &ProviderSettings, facts: &Facts) -> Vec<String> {
    match &settings.endpoints.issuer {
        Some(issuer) => vec![issuer.replace("{tenant}", "{tenantid}")],
        None => facts.issuers.iter().map(ToString::to_string).collect(),
    }
}

/// An OpenID provider's endpoint is known only after discovery; until then it counts as having one.
fn revocation_support(settings: &ProviderSettings, facts: &Facts) -> RevocationSupport {
    let unsupported = |reason: &str| RevocationSupport::Unsupported {
        reason: reason.to_owned(),
    };
    match facts.revoke {
        RevokeRule::Unsupported(reason) => unsupported(reason),
        _ if settings.kind == ProviderKind::Oauth2 && settings.endpoints.revocation.is_none() => unsupported(
            "This provider does not let applications end a connection. It is ended here; to end it there too, look for \
             connected applications in your account.",
        ),
        _ => RevocationSupport::Supported,
    }
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
