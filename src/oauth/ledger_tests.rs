//! What an answer says was granted, read as each provider writes it: however it is spelled and ordered, the ledger holds
//! the catalogue's names, and nothing that was not reported.

use jiff::Timestamp;
use oauth_manager_actors::domain::scope::{Scope, ScopeSet};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    catalogue,
    declaration::Dialect,
    google::Google,
    microsoft::Microsoft,
    notion::Notion,
    oauth2::Oauth2,
    oidc::Oidc,
    settings::{ProviderKind, ProviderSettings},
    token_answer::understand,
    token_response::TokenResponse,
    youtube::Youtube,
};

const SIGN_IN: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// Every scope of a built-in provider's catalogue that is no matter of signing in.
fn catalogued(kind: ProviderKind) -> (Vec<Scope>, ScopeSet) {
    let entry = catalogue::entry(&ProviderSettings::new(kind.as_str().parse().unwrap(), kind)).unwrap();
    let specs = entry.features.iter().flat_map(|feature| &feature.scopes);
    let all: ScopeSet = specs.map(|spec| &spec.scope).collect();
    let all = all.union(&entry.base_scopes);
    let scopes = all
        .iter()
        .filter(|scope| !SIGN_IN.contains(&scope.as_str()))
        .cloned();
    (scopes.collect(), entry.base_scopes)
}

fn microsoft() -> Microsoft {
    let (scopes, base) = catalogued(ProviderKind::Microsoft);
    Microsoft::new(None, base, scopes.iter().collect()).unwrap()
}

/// What stands in the ledger after this answer, if it says anything.
fn ledger(dialect: &dyn Dialect, scope: &Value, present: &ScopeSet) -> Option<ScopeSet> {
    let mut body = json!({ "access_token": "a", "token_type": "Bearer", "expires_in": 3600, "scope": scope });
    if scope.is_null() {
        body.as_object_mut().unwrap().remove("scope");
    }
    let sent_at = Timestamp::from_second(1_000_000).unwrap();
    let understood = understand(
        body.to_string().as_bytes(),
        sent_at,
        dialect,
        &TokenResponse::default(),
    )
    .ok()
    .unwrap();
    dialect.granted(understood.answer.scopes, present, true)
}

fn set<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> ScopeSet {
    names.into_iter().collect()
}

/// Some of them, in any order.
fn some_of(scopes: Vec<Scope>) -> impl Strategy<Value = Vec<Scope>> {
    proptest::sample::subsequence(scopes, 0..=8).prop_shuffle()
}

/// How a scope of Graph may be written: prefixed or not, letter by letter in either case.
fn graph_spelling(scope: &Scope, prefixed: bool, upper: &[bool]) -> String {
    let prefix = if prefixed {
        "https://graph.microsoft.com/"
    } else {
        ""
    };
    let cased = |(index, letter): (usize, char)| {
        if upper[index % upper.len()] {
            letter.to_ascii_uppercase()
        } else {
            letter.to_ascii_lowercase()
        }
    };
    format!("{prefix}{}", scope.as_str())
        .chars()
        .enumerate()
        .map(cased)
        .collect()
}

proptest! {
    #[test]
    fn microsofts_answers_mean_the_same_in_every_spelling(
        asked in some_of(catalogued(ProviderKind::Microsoft).0),
        more in some_of(catalogued(ProviderKind::Microsoft).0),
        sign_in in proptest::sample::subsequence(SIGN_IN.to_vec(), 0..=4),
        prefixed in proptest::collection::vec(any::<bool>(), 20),
        upper in proptest::collection::vec(any::<bool>(), 1..30),
    ) {
        let reported = asked.iter().chain(&more);
        let spelled = reported.clone().zip(&prefixed).map(|(scope, prefixed)| graph_spelling(scope, *prefixed, &upper));
        let text: Vec<String> = spelled.chain(sign_in.iter().map(ToString::to_string)).collect();
        prop_assume!(!text.is_empty());
        let expected = set(reported).union(&set(SIGN_IN));
        for written in [json!(text.join(" ")), json!(text.join(",")), json!(text)] {
            prop_assert_eq!(ledger(&microsoft(), &written, &set(["openid"])), Some(expected.clone()));
        }
    }

    #[test]
    fn googles_identity_scopes_are_the_same_in_both_forms(
        granted in some_of(catalogued(ProviderKind::Google).0),
        email in any::<Option<bool>>(), profile in any::<Option<bool>>(),
    ) {
        let form = |name: &str, long: bool| {
            if long { format!("https://www.googleapis.com/auth/userinfo.{name}") } else { name.to_owned() }
        };
        let identity = [("email", email), ("profile", profile)];
        let written: Vec<String> = granted.iter().map(ToString::to_string)
            .chain(identity.iter().filter_map(|(name, long)| long.map(|long| form(name, long))))
            .collect();
        prop_assume!(!written.is_empty());
        let given = identity.iter().filter(|(_, long)| long.is_some()).map(|(name, _)| Scope::new(name));
        let expected: ScopeSet = granted.iter().cloned().chain(given).collect();
        for dialect in [&Google as &dyn Dialect, &Youtube] {
            prop_assert_eq!(ledger(dialect, &json!(written.join(" ")), &ScopeSet::default()), Some(expected.clone()));
        }
    }

    /// Scopes are compared by letter (RFC 6749 3.3), except where a provider is known not to.
    #[test]
    fn others_names_are_left_as_they_are(names in proptest::collection::vec("[a-zA-Z.:/_-]{1,12}", 1..6)) {
        let text = json!(names.join(" "));
        prop_assert_eq!(ledger(&Oauth2, &text, &ScopeSet::default()), Some(set(&names)));
        prop_assert_eq!(ledger(&Oidc, &text, &ScopeSet::default()), Some(set(&names)));
    }

    #[test]
    fn notion_grants_its_capabilities_whatever_is_written(text in "[ -~]{0,40}") {
        let notion = Notion::new(None, None).unwrap();
        let granted = ledger(&notion, &json!(text), &ScopeSet::default());
        prop_assert_eq!(&granted, &ledger(&notion, &Value::Null, &set(["anything"])));
        prop_assert!(granted.unwrap().contains(&Scope::new("capability:read_content")));
    }
}

/// RFC 6749 5.1 and 6: an answer without `scope` grants what was asked for, or what stood; the ledger's keeper says which.
#[test]
fn an_answer_without_scopes_says_nothing_where_scopes_are_reported() {
    for dialect in [&Google as &dyn Dialect, &Youtube, &microsoft(), &Oidc, &Oauth2] {
        assert_eq!(ledger(dialect, &Value::Null, &set(["openid", "x"])), None);
    }
    // An empty text is how some leave it out.
    assert_eq!(ledger(&Google, &json!(""), &set(["openid", "x"])), None);
}
