//! The connections page: hostile names are inert, states are told in words.

use oauth_manager_actors::domain::{
    account::Account,
    feature::{FeatureState, FeatureStatus},
    reason::{ReasonCode, WhoMustAct},
    scope::ScopeSet,
};

use super::*;
use crate::http::testing::providers;

fn view(status: Status, who: Option<WhoMustAct>) -> IntegrationView {
    IntegrationView {
        id: "google_00000000000000000000000000000abc".parse().unwrap(),
        provider: "google".parse().unwrap(),
        account: Account {
            id: "1".into(),
            issuer: None,
            name: Some("Ada".into()),
            email: Some("ada@example.com".into()),
        },
        status,
        status_reason: Some(ReasonCode::new("invalid_grant")),
        who_must_act: who,
        features: vec![FeatureState {
            key: "google.calendar".parse().unwrap(),
            status: FeatureStatus::Active,
            missing_scopes: ScopeSet::default(),
            consent_expires_at: None,
            consent_lapse: None,
        }],
        scopes: ScopeSet::default(),
        created_at: "2030-01-02T00:00:00Z".parse().unwrap(),
        updated_at: "2030-01-02T00:00:00Z".parse().unwrap(),
        last_refreshed_at: None,
        access_token_expires_at: None,
        next_refresh_at: None,
    }
}

pub(in crate::web) fn session() -> Session {
    Session {
        link_id: uuid::Uuid::nil(),
        subject: "alice".parse().unwrap(),
        display_name: Some("Alice <b>".into()),
        application: "calendar-app".into(),
        return_to: "https://app.example.com/?a=1&b=2".parse().unwrap(),
        features: Vec::new(),
        expires_at: "2030-01-02T01:00:00Z".parse().unwrap(),
    }
}

fn render(accounts: &[IntegrationView]) -> String {
    let (session, providers) = (session(), providers());
    ConnectionsPage {
        visit: Visit {
            session: &session,
            csrf: "csrf-token".into(),
        },
        providers: &providers,
        accounts,
        next: None,
        question: None,
        notice: None,
    }
    .render()
    .into_string()
}

#[test]
fn hostile_provider_profile_renders_inert() {
    const HOSTILE: &[&str] = &[
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'\"><svg/onload=alert(1)>",
        "</article></main><iframe src=//evil.example>",
        "<!--",
        "&lt;script&gt;",
        "javascript:alert(1)",
        "{{7*7}}${7*7}",
        "\u{202e}gnp.exe",
        "</style><style>*{display:none}",
    ];
    let clean = render(&[view(Status::Active, None)]);
    for hostile in HOSTILE {
        let mut view = view(Status::Active, None);
        view.account.name = Some((*hostile).into());
        view.account.email = Some((*hostile).into());
        view.account.id = (*hostile).into();
        let html = render(&[view]);
        // The same elements as with a harmless name: nothing in the name became markup.
        let tags = |html: &str| html.matches('<').count();
        let without_email = tags(&clean) - 4;
        assert!([tags(&clean), without_email].contains(&tags(&html)), "{hostile}");
        assert!(
            !html.contains("<script") && !html.contains("<img") && !html.contains("<iframe"),
            "{hostile}"
        );
    }
}

#[test]
fn a_state_says_what_works_and_who_must_act() {
    for (status, who, words, reconnect) in [
        (Status::Active, None, "nothing for you to do", false),
        (
            Status::Degraded,
            Some(WhoMustAct::Nobody),
            "We keep trying",
            false,
        ),
        (
            Status::ReauthRequired,
            Some(WhoMustAct::User),
            "Connect again",
            true,
        ),
        (
            Status::Paused,
            Some(WhoMustAct::Admin),
            "administrator of your organisation",
            false,
        ),
        (Status::Paused, Some(WhoMustAct::Operator), "on our side", false),
    ] {
        let html = render(&[view(status, who)]);
        assert!(html.contains(words), "{status:?}");
        assert_eq!(html.contains(">Connect again</button>"), reconnect, "{status:?}");
        // Codes are for programs.
        assert!(!html.contains("invalid_grant"));
    }
}

#[test]
fn a_revoked_account_is_not_shown() {
    assert!(render(&[view(Status::Revoked, None)]).contains("not connected any account yet"));
}

#[test]
fn every_form_carries_the_csrf_token_and_goes_to_us() {
    let html = render(&[view(Status::ReauthRequired, Some(WhoMustAct::User))]);
    let forms = html
        .matches("<form method=\"post\" action=\"/connections/")
        .count();
    assert_eq!(forms, html.matches("<form").count());
    assert_eq!(forms, html.matches("name=\"csrf\" value=\"csrf-token\"").count());
    assert!(forms >= 3);
}

#[test]
fn only_configured_providers_are_offered() {
    let html = render(&[]);
    assert!(html.contains("Connect Google") && !html.contains("Notion"));
    assert!(html.contains("href=\"https://app.example.com/?a=1&amp;b=2\""));
}

#[test]
fn what_needs_the_user_comes_first_and_says_so() {
    let mut working = view(Status::Active, None);
    working.account.name = Some("Working".into());
    let mut waiting = view(Status::ReauthRequired, Some(WhoMustAct::User));
    waiting.account.name = Some("Waiting".into());
    let html = render(&[working, waiting]);
    assert!(html.contains("One account needs you"));
    assert!(html.find("Waiting").unwrap() < html.find("Working").unwrap());
}

#[test]
fn a_connected_provider_is_offered_as_another_account_and_the_rest_of_its_features_with_the_account() {
    let html = render(&[view(Status::Active, None)]);
    assert!(html.contains("Connect another Google account"));
    assert!(!html.contains("Use it for more"));
    let mut unused = view(Status::Active, None);
    unused.features.clear();
    let html = render(&[unused]);
    assert!(html.contains("Use it for more") && html.contains("name=\"integration_id\""));
}

#[test]
fn what_the_catalogue_forgot_is_not_asked_for_again() {
    let mut view = view(Status::ReauthRequired, Some(WhoMustAct::User));
    view.features[0].key = "google.gone".parse().unwrap();
    assert!(!render(&[view]).contains("value=\"google.gone\""));
}

#[test]
fn no_word_of_the_protocol_reaches_a_user() {
    for status in [
        Status::Active,
        Status::Pending,
        Status::Degraded,
        Status::ReauthRequired,
        Status::Paused,
    ] {
        let html = render(&[view(status, None)]);
        let text: String = html
            .split('<')
            .filter_map(|piece| piece.split_once('>').map(|(_, text)| text))
            .filter(|text| !text.starts_with(':'))
            .collect::<Vec<_>>()
            .join(" ")
            .to_lowercase();
        for word in [
            "token",
            "scope",
            "integration",
            "oauth",
            "provider",
            "grant",
            "refresh",
        ] {
            assert!(!text.contains(word), "{status:?}: {word}");
        }
    }
}

#[test]
fn a_notice_is_chosen_by_the_address_and_never_quotes_it() {
    assert_eq!(Notice::of("<b>", ""), None);
    assert_eq!(Notice::of("connected", "x"), Some(Notice::Connected));
    let failed = Notice::of("failed", "<script>").unwrap().show().into_string();
    assert!(!failed.contains("script") && failed.contains("nothing was changed"));
    assert_ne!(Notice::of("failed", "account_mismatch"), Notice::of("failed", ""));
}

#[test]
fn accounts_beyond_a_page_have_a_link() {
    let html = more_accounts("a&b=\"c").into_string();
    assert!(html.contains("href=\"/connections?after=a%26b%3D%22c\""));
}

#[test]
fn an_account_without_a_name_is_called_by_its_address() {
    let mut view = view(Status::Active, None);
    view.account.name = Some("  ".into());
    let html = render(&[view]);
    assert!(html.contains("Google: <bdi>ada@example.com</bdi>"));
    assert_eq!(html.matches("ada@example.com").count(), 1);
}

#[test]
fn the_page_says_whose_it_is_and_a_hostile_name_is_inert() {
    let html = render(&[]);
    assert!(html.contains("<bdi>Alice &lt;b&gt;</bdi>"), "{html}");
    assert!(html.contains("<bdi>calendar-app</bdi>"), "{html}");
    let mut nameless = session();
    nameless.display_name = None;
    assert_eq!(nameless.whose(), "alice");
}
