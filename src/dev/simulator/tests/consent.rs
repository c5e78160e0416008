//! The page in front of people.

use super::{Bench, Got, bench, bench_with, form, text};
use crate::dev::simulator::Provider::{Google, Microsoft, Oidc};
use crate::dev::simulator::SimulatorConfig;

const SCOPE: (&str, &str) = (
    "scope",
    "openid https://www.googleapis.com/auth/calendar https://www.googleapis.com/auth/tasks",
);

async fn decide(bench: &Bench, url: &str, fields: &[(&str, &str)]) -> Got {
    let request = bench
        .http
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded");
    bench.send(request.body(form(fields))).await.unwrap()
}

#[tokio::test]
async fn unticked_scopes_are_not_granted_and_identity_always_is() {
    let bench = bench_with(SimulatorConfig::default()).await;
    let url = bench.authorization_url(Google, &[SCOPE, ("login_hint", "ben@google.example")]);
    let page = bench.send(bench.http.get(&url)).await.unwrap();
    assert_eq!(page.status, 200);
    assert!(
        page.text.contains("https://www.googleapis.com/auth/tasks"),
        "{}",
        page.text
    );
    assert!(page.text.contains("Simulator"));
    let ticked = ("scope", "https://www.googleapis.com/auth/tasks");
    let back = decide(
        &bench,
        &url,
        &[("decision", "allow"), ticked, ("_sim_user", "ben")],
    )
    .await;
    assert_eq!(back.status, 303);
    let tokens = bench.exchange(Google, &back.callback()["code"]).await.json();
    let scope = text(&tokens, "scope");
    assert!(
        scope.contains("tasks") && scope.contains("openid") && !scope.contains("calendar"),
        "{scope}"
    );
    let userinfo = bench
        .get_as("google/v1/userinfo", text(&tokens, "access_token"))
        .await
        .json();
    assert_eq!(userinfo["sub"], bench.simulator.account(Google, "ben").subject);
}

#[tokio::test]
async fn what_was_allowed_before_is_not_listed_again_and_stays_granted() {
    let bench = bench_with(SimulatorConfig::default()).await;
    let google = "openid https://www.googleapis.com/auth/calendar";
    for (provider, first, second, old, new) in [
        (
            Google,
            google,
            format!("{google} https://www.googleapis.com/auth/tasks"),
            "/auth/calendar",
            "/auth/tasks",
        ),
        (
            Microsoft,
            "openid Mail.Read",
            "openid Mail.Read Files.Read".to_owned(),
            "Mail.Read",
            "Files.Read",
        ),
    ] {
        let listed = |page: &Got, end: &str| page.text.contains(&format!("{end}\" checked"));
        let url = bench.authorization_url(provider, &[("scope", first), ("login_hint", "ada")]);
        let all: Vec<(&str, &str)> = first.split(' ').map(|scope| ("scope", scope)).collect();
        let allow = [&[("decision", "allow")], all.as_slice()].concat();
        let back = decide(&bench, &url, &allow).await;
        bench.exchange(provider, &back.callback()["code"]).await;

        let wider = [("scope", second.as_str()), ("login_hint", "ada")];
        let url = bench.authorization_url(provider, &wider);
        let page = bench.send(bench.http.get(&url)).await.unwrap();
        assert!(!listed(&page, old) && listed(&page, new), "{}", page.text);
        let forced = [&wider[..], &[("prompt", "consent")]].concat();
        let page = bench
            .send(bench.http.get(bench.authorization_url(provider, &forced)))
            .await
            .unwrap();
        assert!(listed(&page, old) && listed(&page, new), "{}", page.text);
        // Nothing ticked: what was allowed stays so.
        let back = decide(&bench, &url, &[("decision", "allow")]).await;
        let tokens = bench.exchange(provider, &back.callback()["code"]).await.json();
        let scope = text(&tokens, "scope");
        assert!(scope.contains(old) && !scope.contains(new), "{scope}");
        // Nothing is new, and it is clear who: nobody is asked.
        let again = bench.authorization_url(provider, &[("scope", first), ("login_hint", "ada")]);
        assert!(
            bench
                .send(bench.http.get(again))
                .await
                .unwrap()
                .callback()
                .contains_key("code")
        );
        // Somebody else is, for all of it.
        let other = decide(
            &bench,
            &url,
            &[
                ("decision", "allow"),
                ("_sim_shown_to", "ada"),
                ("_sim_user", "ben"),
            ],
        )
        .await;
        assert!(
            other.status == 200 && listed(&other, old) && listed(&other, new),
            "{}",
            other.text
        );
    }
}

#[tokio::test]
async fn deny_goes_back_with_the_state() {
    let bench = bench_with(SimulatorConfig::default()).await;
    let url = bench.authorization_url(Google, &[SCOPE]);
    let callback = decide(&bench, &url, &[("decision", "deny")]).await.callback();
    assert_eq!(
        (callback["error"].as_str(), callback["state"].as_str()),
        ("access_denied", "a state")
    );
}

#[tokio::test]
async fn login_hint_chooses_and_unknown_people_move_in() {
    let bench = bench().await;
    for (parameter, hint) in [("login_hint", "load-17@example.com"), ("_sim_user", "load-17")] {
        let tokens = bench.connect(Google, &[SCOPE, (parameter, hint)]).await;
        let userinfo = bench
            .get_as("google/v1/userinfo", text(&tokens, "access_token"))
            .await
            .json();
        assert_eq!(
            userinfo["sub"],
            bench.simulator.account(Google, "load-17").subject
        );
    }
}

#[tokio::test]
async fn prompt_none_needs_an_earlier_consent() {
    let bench = bench().await;
    let silent = [SCOPE, ("prompt", "none")];
    assert_eq!(
        bench.authorize(Google, &silent).await.callback()["error"],
        "consent_required"
    );
    bench.connect(Google, &[SCOPE]).await;
    assert!(
        bench
            .authorize(Google, &silent)
            .await
            .callback()
            .contains_key("code")
    );
}

#[tokio::test]
async fn repeated_parameters_are_never_redirected() {
    let bench = bench().await;
    let url = format!(
        "{}&state=again",
        bench.authorization_url(Oidc, &[("scope", "openid")])
    );
    assert_eq!(bench.send(bench.http.get(url)).await.unwrap().status, 400);
}

#[tokio::test]
async fn markup_in_parameters_stays_text() {
    let bench = bench().await;
    let evil = [
        ("scope", "openid"),
        ("redirect_uri", "https://evil.example/<script>alert(1)</script>"),
    ];
    let page = bench.authorize(Oidc, &evil).await;
    assert_eq!(page.status, 400);
    assert!(!page.text.contains("<script>"), "{}", page.text);
}

#[tokio::test]
async fn form_post_comes_as_a_form() {
    let bench = bench().await;
    let page = bench
        .authorize(Microsoft, &[("scope", "openid"), ("response_mode", "form_post")])
        .await;
    assert_eq!(page.status, 200);
    assert!(page.text.contains(r#"name="code""#) && page.text.contains(super::CALLBACK));
}
