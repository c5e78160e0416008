//! What a provider's settings must and must not say.

use serde_json::Value;

use super::{super::settings::ClientSecret, *};

fn settings(kind: ProviderKind) -> ProviderSettings {
    let mut settings = ProviderSettings::new(kind.as_str().parse().unwrap(), kind);
    settings.client_id = Some("client".to_owned());
    settings.client_secret = Some(ClientSecret::new("secret"));
    settings
}

#[test]
fn built_in_providers_need_no_endpoints() {
    for kind in ProviderKind::BUILT_IN {
        let registration = Registration::new(settings(kind)).unwrap();
        assert!(registration.provider.configured);
        let tenant = registration.dialect.tenant(&Value::Null).to_owned();
        assert!(registration.endpoints(&tenant, None).is_ok(), "{kind:?}");
    }
}

#[test]
fn without_credentials_a_provider_is_shown_as_unconfigured() {
    let bare = ProviderSettings::new("google".parse().unwrap(), ProviderKind::Google);
    assert!(!Registration::new(bare).unwrap().provider.configured);
}

#[test]
fn the_tenant_is_part_of_microsofts_addresses() {
    let mut settings = settings(ProviderKind::Microsoft);
    settings.endpoints.token = Some("https://login.example.com/{tenant}/token".to_owned());
    let registration = Registration::new(settings).unwrap();
    let endpoints = registration.endpoints("organizations", None).unwrap();
    assert_eq!(
        endpoints.token.as_str(),
        "https://login.example.com/organizations/token"
    );
    assert_eq!(
        endpoints.authorization.as_str(),
        "https://login.microsoftonline.com/organizations/oauth2/v2.0/authorize"
    );
}

#[test]
fn settings_that_cannot_work_are_refused_at_the_start() {
    type Change = fn(&mut ProviderSettings);
    let cases: [(ProviderKind, Change); 7] = [
        (ProviderKind::Oidc, |_| {}),
        (ProviderKind::Oauth2, |_| {}),
        (ProviderKind::Oidc, |s| {
            s.endpoints.issuer = Some("http://id.example.com".to_owned());
        }),
        (ProviderKind::Google, |s| {
            s.endpoints.token = Some("http://127.0.0.1/token".to_owned());
        }),
        (ProviderKind::Google, |s| {
            s.extra_authorize_params
                .insert("state".to_owned(), "x".to_owned());
        }),
        (ProviderKind::Microsoft, |s| s.tenant = Some("a/b".to_owned())),
        (ProviderKind::Notion, |s| {
            s.notion_version = Some("a\nb".to_owned());
        }),
    ];
    for (index, (kind, change)) in cases.into_iter().enumerate() {
        let mut settings = settings(kind);
        change(&mut settings);
        assert!(Registration::new(settings).is_err(), "case {index}");
    }
}

#[test]
fn microsoft_says_in_plain_words_that_it_cannot_revoke() {
    let provider = Registration::new(settings(ProviderKind::Microsoft))
        .unwrap()
        .provider;
    let RevocationSupport::Unsupported { reason } = &provider.revocation else {
        panic!("supported")
    };
    assert!(
        reason.contains("https://myapps.microsoft.com")
            && reason.contains("https://account.live.com/consent")
    );
}
