//! What an endpoint answers, before faults have spoilt it and before anything is signed.

use std::borrow::Cow;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

use super::id_token::IdTokenDraft;

/// An error of the body ends the connection in the middle of an answer.
pub type ReplyBody = UnsyncBoxBody<Bytes, std::io::Error>;

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(Cow<'static, str>, String)>,
    pub body: AnswerBody,
    /// Signed late, and put into a JSON body as `id_token`.
    pub id_token: Option<IdTokenDraft>,
    /// Why the simulator refused, in plain words, for whoever reads the record.
    pub refusal: Option<String>,
}

#[derive(Debug)]
pub enum AnswerBody {
    Empty,
    Json(Value),
    Html(String),
    Text(Cow<'static, str>, String),
}

impl Answer {
    pub fn new(status: u16, body: AnswerBody) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            status,
            headers: Vec::new(),
            body,
            id_token: None,
            refusal: None,
        }
    }

    pub fn json(status: u16, body: Value) -> Self {
        Self::new(status, AnswerBody::Json(body))
    }

    /// A successful answer of a token endpoint: RFC 6749, 5.1 forbids caches to keep it.
    pub fn tokens(body: Value) -> Self {
        Self::json(200, body)
            .with_header("cache-control", "no-store")
            .with_header("pragma", "no-cache")
    }

    pub fn html(status: u16, page: String) -> Self {
        Self::new(status, AnswerBody::Html(page))
    }

    pub fn text(status: u16, text: &str) -> Self {
        Self::new(
            status,
            AnswerBody::Text("text/plain; charset=utf-8".into(), text.to_owned()),
        )
    }

    pub fn redirect(to: &str) -> Self {
        Self::new(302, AnswerBody::Empty)
            .with_header("location", to)
            .with_header("cache-control", "no-store")
    }

    pub fn with_header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn because(mut self, refusal: impl Into<String>) -> Self {
        self.refusal = Some(refusal.into());
        self
    }

    pub fn header_mut(&mut self, name: &str) -> Option<&mut String> {
        self.headers
            .iter_mut()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// Content type and bytes, as they would go over the wire.
    pub fn content(&self) -> (Option<&str>, Bytes) {
        match &self.body {
            AnswerBody::Empty => (None, Bytes::new()),
            AnswerBody::Json(value) => (Some("application/json; charset=utf-8"), value.to_string().into()),
            AnswerBody::Html(page) => (Some("text/html; charset=utf-8"), page.clone().into()),
            AnswerBody::Text(content_type, text) => (Some(content_type.as_ref()), text.clone().into()),
        }
    }

    /// The response with `body` in place of the answer's own.
    pub fn respond_with(&self, content_type: Option<&str>, body: ReplyBody) -> Response<ReplyBody> {
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_str()));
        for (name, value) in headers.chain(content_type.map(|value| ("content-type", value))) {
            // A value that is no header value can only come from a fault's own text: then the header is left out.
            if let (Ok(name), Ok(value)) = (
                http::HeaderName::try_from(name),
                http::HeaderValue::try_from(value),
            ) {
                response.headers_mut().append(name, value);
            }
        }
        response
    }

    pub fn respond(&self) -> Response<ReplyBody> {
        let (content_type, bytes) = self.content();
        self.respond_with(content_type, whole(bytes))
    }
}

pub fn whole(bytes: Bytes) -> ReplyBody {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
