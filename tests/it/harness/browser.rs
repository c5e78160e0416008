//! A browser: follows redirects, keeps cookies, stops at the application's door.

use std::collections::BTreeMap;

use reqwest::{Client, Method, header};
use url::Url;

use super::APPLICATION;

/// Redirects of one flow: ours, the provider's, ours again; more is a loop.
const REDIRECTS_MAX: usize = 10;

pub struct Browser {
    client: Client,
    /// By host and port, then by name.
    cookies: BTreeMap<String, BTreeMap<String, String>>,
}

/// Where a browser ended.
#[derive(Debug, Clone)]
pub struct End {
    pub url: Url,
    /// 0: the application's door, where nobody answers.
    pub status: u16,
    pub body: String,
    pub headers: header::HeaderMap,
}

impl End {
    pub fn query(&self, name: &str) -> Option<String> {
        self.url
            .query_pairs()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}

impl Browser {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            cookies: BTreeMap::new(),
        }
    }

    /// Opens an address and follows redirects until a page, or the application's door.
    pub async fn open(&mut self, url: &str) -> End {
        self.follow(Method::GET, url, None).await
    }

    /// Opens an address without following where it leads: `Location` is the end's URL if it redirects.
    pub async fn step(&mut self, url: &str) -> End {
        self.request(Method::GET, &Url::parse(url).unwrap(), None).await
    }

    /// Submits a form.
    pub async fn submit(&mut self, url: &str, fields: &[(&str, &str)]) -> End {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        self.follow(Method::POST, url, Some(body)).await
    }

    /// The cookies it holds for the site of this address.
    pub fn cookies_for(&self, url: &str) -> BTreeMap<String, String> {
        let site = Url::parse(url).unwrap().authority().to_owned();
        self.cookies.get(&site).cloned().unwrap_or_default()
    }

    /// Takes over every cookie of another browser, except those it has itself.
    pub fn borrow_cookies(&mut self, other: &Browser) {
        for (site, cookies) in &other.cookies {
            let jar = self.cookies.entry(site.clone()).or_default();
            for (name, value) in cookies {
                jar.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
    }

    async fn follow(&mut self, method: Method, url: &str, body: Option<String>) -> End {
        let mut end = self.request(method, &Url::parse(url).unwrap(), body).await;
        for _ in 0..REDIRECTS_MAX {
            let redirected = matches!(end.status, 302 | 303);
            if !redirected || end.url.as_str().starts_with(APPLICATION) {
                return end;
            }
            let next = end.url.clone();
            end = self.request(Method::GET, &next, None).await;
        }
        panic!("redirected in circles: {end:?}");
    }

    async fn request(&mut self, method: Method, url: &Url, body: Option<String>) -> End {
        let site = url.authority().to_owned();
        let mut request = self.client.request(method, url.clone());
        if let Some(cookies) = self.cookies.get(&site).filter(|cookies| !cookies.is_empty()) {
            let line: Vec<_> = cookies
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            request = request.header(header::COOKIE, line.join("; "));
        }
        if let Some(body) = body {
            let origin = url.origin().ascii_serialization();
            request = request
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(header::ORIGIN, origin)
                .body(body);
        }
        let response = request.send().await.expect("an answer");
        self.keep_cookies(site, response.headers());
        let headers = response.headers().clone();
        let status = response.status().as_u16();
        let location = headers
            .get(header::LOCATION)
            .map(|location| url.join(location.to_str().unwrap()).unwrap());
        let url = location.unwrap_or_else(|| url.clone());
        End {
            url,
            status,
            headers,
            body: response.text().await.unwrap_or_default(),
        }
    }

    fn keep_cookies(&mut self, site: String, headers: &header::HeaderMap) {
        let jar = self.cookies.entry(site).or_default();
        for line in headers.get_all(header::SET_COOKIE) {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() || line.to_ascii_lowercase().contains("max-age=0") {
                jar.remove(name.trim());
            } else {
                jar.insert(name.trim().to_owned(), value.to_owned());
            }
        }
    }
}
