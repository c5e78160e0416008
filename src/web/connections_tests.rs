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
        }],
        scopes: ScopeSet::default(),
        created_at: "2030-01-02T00:00:00Z".parse().unwrap(),
        updated_at: "2030-01-02T00:00:00Z".parse().unwrap(),
        last_refreshed_at: None,
        access_token_expires_at: None,
        next_refresh_at: None,
    }
}

fn session() -> Session {
    Session {
        subject: "alice".parse().unwrap(),
        return_to: Some("https://app.example.com/?a=1&b=2".parse().unwrap()),
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
        let without_email = tags(&clean) - 2;
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
        assert_eq!(html.contains("name=\"integration_id\""), reconnect, "{status:?}");
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
    assert!(html.contains("Connect Google") && !html.contains("Connect Notion"));
    assert!(html.contains("href=\"https://app.example.com/?a=1&amp;b=2\""));
}
