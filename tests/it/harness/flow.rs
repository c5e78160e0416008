//! A connect flow held at the callback's door: the provider has sent the browser back, and it has not arrived yet.

use serde_json::{Value, json};
use url::Url;

use super::{APPLICATION, Api, Browser, Service, browser::End};

/// Connects an account the way an application does, in a browser without our session; returns the integration.
pub async fn connect(api: &Api, mut browser: Browser, mut request: Value) -> Value {
    request["return_to"] = APPLICATION.into();
    let begun = api.post("/authorizations", request).await.expect_status(201);
    let end = browser.open(begun["authorization_url"].as_str().unwrap()).await;
    assert_eq!(
        end.query("status").as_deref(),
        Some("confirmation_required"),
        "{end:?}"
    );
    let confirmation = json!({ "confirmation": end.query("confirmation").unwrap() });
    let path = format!(
        "/authorizations/{}/confirm",
        end.query("authorization_id").unwrap()
    );
    api.post(&path, confirmation).await.expect_status(200)
}

/// Begins a flow as a script on our own pages does: with the session's cookie, and the token only those pages know.
pub async fn begin_on_our_page(service: &Service, browser: &mut Browser, request: Value) -> Value {
    let page = browser.open(&format!("{}/connections", service.base_url)).await;
    let token = page.body.split("name=\"csrf\" value=\"").nth(1);
    let token = token.expect("a page with forms").split('"').next().unwrap();
    let cookies = browser.cookies_for(&service.base_url);
    let cookies: Vec<_> = cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let answer = service
        .http
        .post(format!("{}/api/v1/oauth/authorizations", service.base_url))
        .header("cookie", cookies.join("; "))
        .header("x-csrf-token", token)
        .header("sec-fetch-site", "same-origin")
        .json(&request)
        .send()
        .await
        .unwrap();
    super::Answer::of(answer).await.expect_status(201)
}

pub struct Flow {
    pub id: String,
    /// Our link that began it.
    pub link: String,
    /// Where the provider sent the browser.
    pub callback: Url,
    pub browser: Browser,
}

impl Flow {
    /// Begins a flow for the user and lets a new browser walk it up to the callback.
    pub async fn begin(service: &Service, user: &str, provider: &str) -> Self {
        Self::begin_in(service.browser(), service, user, json!({ "provider": provider })).await
    }

    /// The same in this browser, with more in the request.
    pub async fn begin_in(mut browser: Browser, service: &Service, user: &str, mut request: Value) -> Self {
        if request["return_to"].is_null() {
            request["return_to"] = APPLICATION.into();
        }
        let begun = service
            .user(user)
            .post("/authorizations", request)
            .await
            .expect_status(201);
        let link = begun["authorization_url"].as_str().unwrap().to_owned();
        let provider = browser.step(&link).await;
        assert_eq!(provider.status, 303, "{provider:?}");
        let back = browser.step(provider.url.as_str()).await;
        assert!(matches!(back.status, 302 | 303), "{back:?}");
        Self {
            id: begun["authorization_id"].as_str().unwrap().to_owned(),
            link,
            callback: back.url,
            browser,
        }
    }

    /// Lets the browser arrive.
    pub async fn arrive(&mut self) -> End {
        let callback = self.callback.clone();
        self.arrive_at(&callback).await
    }

    /// Lets the browser arrive at another address instead.
    pub async fn arrive_at(&mut self, callback: &Url) -> End {
        self.browser.step(callback.as_str()).await
    }

    pub fn parameter(&self, name: &str) -> String {
        parameter(&self.callback, name).expect("the callback has it")
    }

    /// The callback with this parameter replaced, or removed.
    pub fn callback_with(&self, name: &str, value: Option<&str>) -> Url {
        let mut url = self.callback.clone();
        let kept: Vec<(String, String)> = url
            .query_pairs()
            .filter(|(key, _)| key != name)
            .map(|(key, value)| (key.into_owned(), value.into_owned()))
            .collect();
        url.query_pairs_mut()
            .clear()
            .extend_pairs(kept)
            .extend_pairs(value.map(|value| (name, value)));
        url
    }

    /// The callback with this parameter added behind the others.
    pub fn callback_and(&self, name: &str, value: &str) -> Url {
        let mut url = self.callback.clone();
        url.query_pairs_mut().append_pair(name, value);
        url
    }
}

pub fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
