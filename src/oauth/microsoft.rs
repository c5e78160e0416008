//! Microsoft (Entra ID v2.0): the tenant is part of every address, scopes come back in any spelling, and `invalid_grant`
//! means many things.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use jsonwebtoken::Algorithm;
use oauth_manager_actors::{
    domain::{
        integration::{ACCOUNT_KIND, PERSONAL, WORK},
        provider::RefreshClass,
        scope::{Scope, ScopeSet},
    },
    ports::oauth::{AuthorizationUrlRequest, FailureKind},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    classify::ErrorAnswer,
    declaration::{BodyFormat, DAY, Dialect, Facts, Identity, Refined, RevokeRule},
    id_token::Claims,
    settings::ClientAuth,
};

/// Personal accounts live in a directory of their own.
const CONSUMERS: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";
const GRAPH: &str = "https://graph.microsoft.com/";
/// Scopes that say who signs in and how long, not what a token may do; answers repeat them only in part.
const SIGN_IN: [&str; 4] = ["openid", "profile", "email", "offline_access"];
/// 50196 means that we looped: the way out is to leave the account alone for minutes.
const LOOP_PAUSE: Duration = Duration::from_mins(5);

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

    fn refine(&self, error: &ErrorAnswer) -> Option<Refined> {
        error
            .numbers
            .iter()
            .find_map(|number| refine_number(*number))
            .or_else(|| refine_suberror(error))
    }
}

/// The table of AADSTS codes. Microsoft warns that they change: an unknown one falls back on `error`.
fn refine_number(number: u32) -> Option<Refined> {
    let kind = match number {
        // The grant is gone.
        50173 | 70000 | 70008 | 700_082 | 700_084 | 70043 | 54005 | 50085 | 700_020 | 70019 | 50034 => {
            FailureKind::DeadGrant
        }
        // A second factor, a new password, a policy that asks for the user; or a consent only the user can give.
        50076 | 50072 | 50074 | 50078 | 50079 | 50089 | 50097 | 50131 | 50132 | 50133 | 50135 | 50055
        | 50158 | 53000 | 53001 | 53002 | 53003 | 53004 | 53011 | 530_032 | 530_035 | 16000 | 65001
        | 65004 => FailureKind::Interaction,
        // Approval, a disabled account, an account not assigned to the application, a directory that refuses us.
        90094 | 90095 | 50057 | 50105 | 50020 | 500_212 | 500_213 => FailureKind::Admin,
        50033 | 50087 | 50088 | 90006 | 90012 | 90024 | 90033 | 90055 | 90090 | 90091 | 70012 | 50166
        | 80002 | 80005 => FailureKind::Passing,
        50196 => FailureKind::AccountThrottled,
        7_000_215 | 7_000_222 | 7_000_218 | 70002 | 700_016 | 700_025 | 700_027 | 50011 | 700_011 | 70001
        | 7_000_112 | 50194 | 90002 | 700_005 | 9_002_313 | 900_144 | 90014 | 90023 | 90100 | 901_002
        | 90013 | 50001 | 500_011 | 650_052 | 650_053 | 650_054 | 650_056 | 650_057 | 65005 | 9_001_023
        | 9_002_332 | 900_382 | 90038 => FailureKind::Operator,
        // Scopes of several resources in one request, or a proof key that does not fit: this request's own fault.
        70011 | 28002 | 28003 | 700_022 | 700_023 | 501_481 | 50147 | 501_491 | 50148 => FailureKind::Refused,
        _ => return None,
    };
    let mut refined = Refined::new(kind, format!("aadsts{number}"));
    if number == 50196 {
        refined.retry_after = Some(LOOP_PAUSE);
    }
    Some(refined)
}

fn refine_suberror(error: &ErrorAnswer) -> Option<Refined> {
    let suberror = error.subcode.as_deref()?;
    let kind = match suberror {
        "bad_token" | "token_expired" => FailureKind::DeadGrant,
        "client_mismatch" => FailureKind::Operator,
        "basic_action"
        | "additional_action"
        | "message_only"
        | "consent_required"
        | "user_password_expired"
        | "device_authentication_failed"
        | "protection_policy_required" => FailureKind::Interaction,
        _ => return None,
    };
    Some(Refined::new(kind, suberror))
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
    fn a_tenant_that_is_no_path_segment_is_refused() {
        for bad in ["", "a/b", "..", "a?b", "a b"] {
            assert!(
                Microsoft::new(Some(bad), ScopeSet::default(), ScopeSet::default()).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn every_listed_code_has_its_class() {
        let table: &[(FailureKind, &[u32])] = &[
            (
                FailureKind::DeadGrant,
                &[
                    50173, 70000, 70008, 700_082, 700_084, 70043, 54005, 50085, 700_020, 70019,
                ],
            ),
            (
                FailureKind::Interaction,
                &[50076, 50072, 50055, 53003, 530_035, 16000, 65001, 65004],
            ),
            (FailureKind::Admin, &[90094, 90095, 50057, 50105, 50020, 500_212]),
            (FailureKind::Passing, &[50033, 90006, 90033, 90055, 80005]),
            (FailureKind::AccountThrottled, &[50196]),
            (
                FailureKind::Operator,
                &[7_000_215, 7_000_222, 700_016, 50011, 90002, 900_382],
            ),
            (FailureKind::Refused, &[70011, 28002, 501_481]),
        ];
        for (kind, numbers) in table {
            for number in *numbers {
                let refined = refine_number(*number).unwrap();
                assert_eq!((refined.kind, refined.reason), (*kind, format!("aadsts{number}")));
            }
        }
        assert_eq!(refine_number(50196).unwrap().retry_after, Some(LOOP_PAUSE));
        assert_eq!(refine_number(1), None);
    }
}
