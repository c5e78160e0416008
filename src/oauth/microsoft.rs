//! Microsoft (Entra ID v2.0): the tenant is part of every address, scopes come back in any spelling, and `invalid_grant`
//! means many things.

use std::{borrow::Cow, collections::HashMap};

use jsonwebtoken::Algorithm;
use oauth_manager_actors::{
    domain::{
        integration::{ACCOUNT_KIND, PERSONAL, WORK},
        provider::RefreshClass,
        scope::{Scope, ScopeSet},
    },
    ports::oauth::AuthorizationUrlRequest,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    classify::ErrorAnswer,
    declaration::{BodyFormat, DAY, Dialect, Facts, Identity, Refined, RevokeRule},
    id_token::Claims,
    microsoft_errors,
    settings::ClientAuth,
};

/// Personal accounts live in a directory of their own.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
const GRAPH: &str = "https://graph.microsoft.com/";
/// Scopes that say who signs in and how long, not what a token may do; answers repeat them only in part.
const SIGN_IN: [&str; 4] = ["openid", "profile", "email", "offline_access"];

const FACTS: Facts = Facts {
    issuers: &["https://login.microsoftonline.com/{tenantid}/v2.0"],
    authorization: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize",
    token: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
    revocation: "",
    userinfo: "https://graph.microsoft.com/oidc/userinfo",
    jwks: "https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys",
    client_auth: Some(ClientAuth::Post),
    body: BodyFormat::Form,
    asks_for_scopes: true,
    reports_scopes: true,
    // A refresh token serves everything consented to, but an answer may name only what was asked for; asked for again, it
    // shows the user nothing but what is new.
    incremental: false,
    identity: Identity::IdToken,
    revoke: RevokeRule::Unsupported(
        "Microsoft does not let applications end a connection. It is ended here; to end it at Microsoft too, open \
         https://myapps.microsoft.com (work or school account) or https://account.live.com/consent/Manage (personal \
         account).",
    ),
    // Each refresh answers with a new token, but using the old one again does not revoke it.
    refresh_class: RefreshClass::Safe,
    // A refresh token lives 90 days from its last use: twice as often.
    keep_alive: Some(DAY.saturating_mul(45)),
    max_concurrency: 64,
    narrows: true,
    algorithms: &[Algorithm::RS256],
    callback_issuer: false,
};

/// The dialect of Microsoft, for one tenant setting and one catalogue.
pub(super) struct Microsoft {
    tenant: String,
    /// Those of the base scopes that are [`SIGN_IN`]'s.
    sign_in: ScopeSet,
    /// Lower-case name to the catalogue's spelling.
    spellings: HashMap<String, Scope>,
}

/// Whether only personal accounts sign in at this tenant.
pub(super) fn is_consumers(tenant: &str) -> bool {
    tenant == "consumers" || tenant.eq_ignore_ascii_case(CONSUMERS)
}

impl Microsoft {
    pub(super) fn new(
        tenant: Option<&str>,
        base_scopes: ScopeSet,
        catalogue: ScopeSet,
    ) -> Result<Self, &'static str> {
        let tenant = tenant.unwrap_or("common");
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
        if tenant.is_empty() || tenant.starts_with('.') || !tenant.bytes().all(is_plain) {
            return Err("tenant is neither a word, an id nor a domain");
        }
        let spellings = base_scopes
            .union(&catalogue)
            .iter()
            .map(|scope| (scope.as_str().to_ascii_lowercase(), scope.clone()))
            .collect();
        let is_sign_in = |scope: &&Scope| SIGN_IN.contains(&scope.as_str());
        Ok(Self {
            tenant: tenant.to_owned(),
            sign_in: base_scopes.iter().filter(is_sign_in).collect(),
            spellings,
        })
    }
}

impl Dialect for Microsoft {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn authorization_parameters(
        &self,
        request: &AuthorizationUrlRequest,
    ) -> Vec<(&'static str, Cow<'static, str>)> {
        // `login_hint` and `select_account` exclude each other.
        let account = match &request.login_hint {
            Some(hint) => ("login_hint", Cow::Owned(hint.clone())),
            None => ("prompt", Cow::Borrowed("select_account")),
        };
        let mut parameters = vec![("response_mode", Cow::Borrowed("query")), account];
        // Continuous access evaluation: what Graph demanded when it rejected the token.
        if let Some(claims) = &request.claims {
            parameters.push(("claims", Cow::Owned(claims.clone())));
        }
        parameters
    }

    /// The token endpoint serves one resource at a time: Graph's scopes are named, others left out.
    fn refresh_parameters(&self, granted: &ScopeSet) -> Vec<(&'static str, String)> {
        let graph: ScopeSet = granted
            .iter()
            .filter(|scope| !scope.as_str().contains("://"))
            .collect();
        if graph.is_empty() {
            return Vec::new();
        }
        vec![("scope", graph.union(&self.sign_in).join(" "))]
    }

    /// `https://graph.microsoft.com/mail.read` is `Mail.Read`. `offline_access` is never reported, so it says nothing.
    fn canonical_scope(&self, raw: &str) -> Option<Scope> {
        let has_prefix = raw
            .get(..GRAPH.len())
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case(GRAPH));
        let name = if has_prefix { &raw[GRAPH.len()..] } else { raw };
        if name.is_empty() || name.eq_ignore_ascii_case("offline_access") {
            return None;
        }
        let known = self.spellings.get(&name.to_ascii_lowercase());
        Some(known.cloned().unwrap_or_else(|| Scope::new(name)))
    }

    /// What is about signing in cannot be declined and is reported only in part: it stands as granted. Whatever else is
    /// not reported was not granted, though it is asked for every time (`User.Read`).
    fn granted(
        &self,
        reported: Option<ScopeSet>,
        _present: &ScopeSet,
        _has_refresh_token: bool,
    ) -> Option<ScopeSet> {
        reported.map(|scopes| scopes.union(&self.sign_in))
    }

    /// The account's own directory, once it is known: policies and guests get definite answers there.
    fn tenant<'a>(&'a self, metadata: &'a Value) -> &'a str {
        let stored = metadata.get("tid").and_then(Value::as_str);
        stored
            .filter(|tid| Uuid::try_parse(tid).is_ok())
            .unwrap_or(&self.tenant)
    }

    fn accepts_tenant(&self, claims: &Claims) -> bool {
        // `tid` goes into addresses later: only an id is one.
        let Some(tid) = claims.text("tid").filter(|tid| Uuid::try_parse(tid).is_ok()) else {
            return false;
        };
        match self.tenant.as_str() {
            "common" => true,
            "organizations" => tid != CONSUMERS,
            "consumers" => tid == CONSUMERS,
            // A domain cannot be compared with an id; the directory itself then decided who could sign in.
            tenant => Uuid::try_parse(tenant).is_err() || tenant.eq_ignore_ascii_case(tid),
        }
    }

    /// `sub` differs from application to application; `tid` and `oid` together name the account in its directory.
    fn account_from_claims(&self, claims: &Claims) -> (String, Value) {
        let tid = claims.text("tid").unwrap_or_default();
        let id = match claims.text("oid") {
            Some(oid) => format!("{tid}.{oid}"),
            None => claims.sub.clone(),
        };
        let kind = if tid == CONSUMERS { PERSONAL } else { WORK };
        (id, json!({ "tid": tid, "sub": claims.sub, ACCOUNT_KIND: kind }))
    }

    /// The directory. Personal accounts share one that is nobody's, and where only one directory signs in it is our own:
    /// there each account speaks for itself.
    fn upstream_tenant<'a>(&self, metadata: &'a Value) -> Option<&'a str> {
        let tid = metadata.get("tid").and_then(Value::as_str)?;
        let is_open = matches!(self.tenant.as_str(), "common" | "organizations");
        (is_open && tid != CONSUMERS).then_some(tid)
    }

    fn refine(&self, error: &ErrorAnswer) -> Option<Refined> {
        microsoft_errors::refine(error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dialect(tenant: &str) -> Microsoft {
        let base = ["openid", "profile", "email", "offline_access", "User.Read"]
            .into_iter()
            .collect();
        Microsoft::new(
            Some(tenant),
            base,
            ["Mail.Read", "Calendars.Read"].into_iter().collect(),
        )
        .unwrap()
    }

    proptest! {
        #[test]
        fn any_spelling_of_a_known_scope_is_the_catalogues(upper in proptest::collection::vec(any::<bool>(), 9), prefixed: bool) {
            let name: String = "mail.read".chars().zip(upper).map(|(c, up)| if up { c.to_ascii_uppercase() } else { c }).collect();
            let raw = if prefixed { format!("{GRAPH}{name}") } else { name };
            prop_assert_eq!(dialect("common").canonical_scope(&raw), Some(Scope::new("Mail.Read")));
        }

        #[test]
        fn the_canonical_spelling_is_stable(raw in "\\PC{0,60}") {
            let dialect = dialect("common");
            if let Some(once) = dialect.canonical_scope(&raw) {
                // A doubled prefix is nobody's scope; stripping stops after one.
                prop_assume!(!once.as_str().to_ascii_lowercase().starts_with(GRAPH));
                prop_assert_eq!(dialect.canonical_scope(once.as_str()), Some(once));
            }
        }
    }

    #[test]
    fn signing_in_stands_as_granted_and_offline_access_says_nothing() {
        let dialect = dialect("common");
        assert_eq!(dialect.canonical_scope("offline_access"), None);
        let reported = Some(["Mail.Read"].into_iter().collect());
        let granted = dialect.granted(reported, &ScopeSet::default(), true).unwrap();
        assert!(granted.contains(&Scope::new("offline_access")));
        assert!(!granted.contains(&Scope::new("User.Read")), "it was not reported");
    }

    #[test]
    fn a_refresh_goes_to_the_accounts_own_directory() {
        let dialect = dialect("common");
        let tid = "11111111-2222-3333-4444-555555555555";
        assert_eq!(dialect.tenant(&json!({ "tid": tid })), tid);
        assert_eq!(dialect.tenant(&json!({ "tid": "../evil" })), "common");
        assert_eq!(dialect.tenant(&Value::Null), "common");
    }

    #[test]
    fn accounts_of_one_directory_have_one_voice_and_personal_ones_their_own() {
        let tid = "11111111-2222-3333-4444-555555555555";
        let metadata = json!({ "tid": tid });
        assert_eq!(dialect("common").upstream_tenant(&metadata), Some(tid));
        assert_eq!(dialect(tid).upstream_tenant(&metadata), None);
        assert_eq!(
            dialect("common").upstream_tenant(&json!({ "tid": CONSUMERS })),
            None
        );
        assert_eq!(dialect("common").upstream_tenant(&Value::Null), None);
    }

    #[test]
    fn a_tenant_that_is_no_path_segment_is_refused() {
        for bad in ["", "a/b", "..", "a?b", "a b"] {
            assert!(
                Microsoft::new(Some(bad), ScopeSet::default(), ScopeSet::default()).is_err(),
                "{bad}"
            );
        }
    }
}
