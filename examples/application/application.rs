//! An application whose users connect accounts through an OAuth Manager: what yours would do, in one file.
//!
//! It knows its users by a cookie of its own. With its service credential (made with `--sessions`) it asks the OAuth
//! Manager for two kinds of links, and sends the browser there:
//!
//! - a connect link, where the user connects one account (`POST /authorizations`);
//! - a session link, where the user sees and changes all connections (`POST /sessions`).
//!
//! Links can be opened by anybody: forwarded, sent to a victim, read by a mail scanner. So the browser always comes back
//! to `return_to` with a one-time confirmation, and *this application says who sits there*, by its own cookie and never by
//! anything in the address. If that is not whom the link was made for, the OAuth Manager refuses and nothing happens.
//!
//! Logging in here is a name without a password: that part is yours.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use maud::{DOCTYPE, Markup, html};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::{Url, form_urlencoded};
use warp::{Filter as _, http::Response, path::FullPath};

const COOKIE: &str = "example_login";

/// What the application is told when it starts.
#[derive(Debug)]
pub struct Application {
    /// Where the OAuth Manager is: `https://oauth.example.com`.
    pub manager: Url,
    /// The application's credential there (`clients create NAME --sessions`).
    pub credential: String,
    /// The application's own address. `{own}/return` is in `server.allowed_return_urls` of the OAuth Manager.
    pub own: Url,
    /// Whoever is not logged in becomes this user at once. For development alone.
    pub everybody_is: Option<String>,
    /// Asks the OAuth Manager.
    pub http: reqwest::Client,
    /// Who is logged in, by the value of their cookie.
    pub logins: Mutex<HashMap<String, String>>,
}

type Page = Response<String>;

impl Application {
    /// Answers browsers, for as long as it is let.
    pub async fn serve(self, listener: TcpListener) {
        let application = Arc::new(self);
        let routes = warp::method()
            .and(warp::path::full())
            .and(warp::query::raw().or(warp::any().map(String::new)).unify())
            .and(warp::header::headers_cloned())
            .and(warp::body::bytes())
            .then(
                move |method, path: FullPath, query, headers, body: bytes::Bytes| {
                    let application = Arc::clone(&application);
                    async move {
                        application
                            .answer(method, path.as_str(), query, headers, &body)
                            .await
                    }
                },
            );
        warp::serve(routes).incoming(listener).run().await;
    }

    async fn answer(
        &self,
        method: Method,
        path: &str,
        query: String,
        headers: HeaderMap,
        form: &[u8],
    ) -> Page {
        let form: HashMap<String, String> = form_urlencoded::parse(form).into_owned().collect();
        if (&method, path) == (&Method::POST, "/login") {
            return self.log_in(field(&form, "user"), field(&form, "next"));
        }
        let next = if path == "/return" {
            format!("/return?{query}")
        } else {
            "/".into()
        };
        let Some(user) = self.user(&headers) else {
            return match &self.everybody_is {
                Some(user) => self.log_in(user, &next),
                None => page("Who are you?", login_form(&next)),
            };
        };
        let answered = match (&method, path) {
            (&Method::POST, "/connect") => self.connect(&user, field(&form, "provider")).await,
            (&Method::POST, "/connections") => self.session_link(&user).await,
            (_, "/return") => self.browser_is_back(&user, query.as_bytes()).await,
            _ => Ok(page("An application", home(&user))),
        };
        answered.unwrap_or_else(|why| {
            page(
                "That did not work",
                html! { p { (why) } p { a href="/" { "Back" } } },
            )
        })
    }

    /// The user wants to connect an account: the OAuth Manager makes a link for exactly this user.
    async fn connect(&self, user: &str, provider: &str) -> Result<Page, String> {
        let request = json!({ "user": user, "provider": provider, "return_to": self.return_to() });
        let begun = self.ask("authorizations", &request).await?;
        Ok(see_other(&begun["authorization_url"]))
    }

    /// The user wants to see all connections.
    async fn session_link(&self, user: &str) -> Result<Page, String> {
        Ok(see_other(&Value::from(self.make_session_link(user).await?)))
    }

    /// A link to the OAuth Manager's pages for this user.
    pub async fn make_session_link(&self, user: &str) -> Result<String, String> {
        let request = json!({ "user": user, "display_name": user, "return_to": self.return_to() });
        let link = self.ask("sessions", &request).await?;
        Ok(link["url"].as_str().unwrap_or_default().to_owned())
    }

    /// A browser came back from the OAuth Manager. `user` is who is logged in here, whatever the address says.
    async fn browser_is_back(&self, user: &str, query: &[u8]) -> Result<Page, String> {
        let query: HashMap<String, String> = form_urlencoded::parse(query).into_owned().collect();
        let given = |name: &str| query.get(name).map(String::as_str);
        // A session link was opened in this browser: it is this user who sits here.
        if let (Some(id), Some(confirmation)) = (given("session_id"), given("session_confirmation")) {
            let word = json!({ "user": user, "confirmation": confirmation });
            let confirmed = self.ask(&format!("sessions/{}/confirm", safe(id)), &word).await?;
            return Ok(see_other(&confirmed["url"]));
        }
        // A connect flow ended in this browser.
        match (given("authorization_id"), given("confirmation"), given("status")) {
            (Some(id), Some(confirmation), _) => {
                let word = json!({ "user": user, "confirmation": confirmation });
                let path = format!("authorizations/{}/confirm", safe(id));
                let account = self.ask(&path, &word).await?;
                let (provider, name) = (&account["provider"], &account["account"]["name"]);
                Ok(page(
                    "Connected",
                    html! {
                        p { (provider.as_str().unwrap_or_default()) ": " (name.as_str().unwrap_or_default()) }
                        p { a href="/" { "Back" } }
                    },
                ))
            }
            (Some(_), None, Some("connected")) => {
                Ok(page("Connected", html! { p { a href="/" { "Back" } } }))
            }
            (Some(_), None, _) => Err("Nothing was connected.".into()),
            (None, _, _) => Ok(page("An application", home(user))),
        }
    }

    fn return_to(&self) -> String {
        format!("{}return", self.own)
    }

    /// Asks the OAuth Manager, with the application's own credential.
    async fn ask(&self, path: &str, body: &Value) -> Result<Value, String> {
        let sent = self
            .http
            .post(format!("{}api/v1/oauth/{path}", self.manager))
            .bearer_auth(&self.credential)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.to_string())
            .send();
        let answer = sent.await.map_err(|error| error.without_url().to_string())?;
        let good = answer.status().is_success();
        let text = answer
            .text()
            .await
            .map_err(|error| error.without_url().to_string())?;
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        if good {
            Ok(body)
        } else {
            Err(format!("{} ({})", body["detail"], body["code"]).replace('"', ""))
        }
    }

    fn user(&self, headers: &HeaderMap) -> Option<String> {
        let cookies = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok());
        let mut pairs = cookies
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='));
        let (_, value) = pairs.find(|(name, _)| *name == COOKIE)?;
        self.logins.lock().ok()?.get(value).cloned()
    }

    /// `SameSite=Lax`: no other site's forms are sent as this user, and the way back from a provider is.
    fn log_in(&self, user: &str, next: &str) -> Page {
        let value = uuid::Uuid::new_v4().simple().to_string();
        if let Ok(mut logins) = self.logins.lock() {
            logins.insert(value.clone(), user.to_owned());
        }
        let next = if next.starts_with("/return?") { next } else { "/" };
        let mut response = see_other(&Value::from(next));
        let cookie = format!("{COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        response
    }
}

fn field<'a>(form: &'a HashMap<String, String>, name: &str) -> &'a str {
    form.get(name).map_or("", String::as_str)
}

/// What a browser brought is put into a path only if it is an id.
fn safe(id: &str) -> &str {
    if id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
        id
    } else {
        "none"
    }
}

fn see_other(location: &Value) -> Page {
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    if let Ok(location) = HeaderValue::from_str(location.as_str().unwrap_or("/")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    // The address this came to holds a confirmation.
    let no_referrer = HeaderValue::from_static("no-referrer");
    response
        .headers_mut()
        .insert(header::REFERRER_POLICY, no_referrer);
    response
}

fn page(title: &str, content: Markup) -> Page {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; meta name="referrer" content="no-referrer"; title { (title) } }
            body { h1 { (title) } (content) }
        }
    };
    let mut response = Response::new(markup.into_string());
    let type_ = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, type_);
    response
}

fn home(user: &str) -> Markup {
    html! {
        p { "You are " strong { (user) } "." }
        form method="post" action="/connections" { button { "Your connections" } }
        form method="post" action="/connect" {
            @for provider in ["google", "microsoft", "notion", "youtube"] {
                button name="provider" value=(provider) { "Connect " (provider) } " "
            }
        }
        (login_form("/"))
    }
}

fn login_form(next: &str) -> Markup {
    html! {
        form method="post" action="/login" {
            input type="hidden" name="next" value=(next);
            label { "Log in as " input name="user" required; }
            button { "Log in" }
        }
    }
}
