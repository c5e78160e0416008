//! A request as the endpoints see it: read completely, with its query and its fields (form or JSON) taken apart.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::Serialize;
use serde_json::Value;

/// Names and values in the order in which they came, repetitions kept: a repeated parameter is an error in OAuth.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Pairs(pub Vec<(String, String)>);

impl Pairs {
    pub fn from_urlencoded(text: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first value; an empty one counts as absent (RFC 6749, 3.1).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next().filter(|value| !value.is_empty())
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// A name that occurs more than once, if there is one.
    pub fn repeated(&self) -> Option<&str> {
        let names = || self.0.iter().map(|(name, _)| name.as_str());
        names()
            .enumerate()
            .find(|(at, name)| names().take(*at).any(|earlier| earlier == *name))
            .map(|(_, name)| name)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyKind {
    Absent,
    Form,
    Json,
    /// Says it is JSON and is not a JSON object.
    BrokenJson,
    Other,
}

#[derive(Debug)]
pub struct Request {
    pub method: Method,
    pub path: String,
    pub query: Pairs,
    pub headers: HeaderMap,
    pub body_kind: BodyKind,
    pub fields: Pairs,
    pub body: Bytes,
}

impl Request {
    pub fn new(parts: http::request::Parts, body: Bytes) -> Self {
        let (body_kind, fields) = read_fields(&parts.headers, &body);
        let query = Pairs::from_urlencoded(parts.uri.query().unwrap_or_default().as_bytes());
        Self {
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query,
            headers: parts.headers,
            body_kind,
            fields,
            body,
        }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    pub fn bearer_token(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token)
    }
}

fn read_fields(headers: &HeaderMap, body: &Bytes) -> (BodyKind, Pairs) {
    if body.is_empty() {
        return (BodyKind::Absent, Pairs::default());
    }
    let content_type = headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    match content_type.split(';').next().unwrap_or_default().trim() {
        "application/x-www-form-urlencoded" => (BodyKind::Form, Pairs::from_urlencoded(body)),
        "application/json" => match serde_json::from_slice(body) {
            Ok(Value::Object(members)) => {
                let fields = members.into_iter().map(|(name, value)| match value {
                    Value::String(text) => (name, text),
                    other => (name, other.to_string()),
                });
                (BodyKind::Json, Pairs(fields.collect()))
            }
            _ => (BodyKind::BrokenJson, Pairs::default()),
        },
        _ => (BodyKind::Other, Pairs::default()),
    }
}
