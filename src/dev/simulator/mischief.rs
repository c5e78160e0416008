//! How each fault changes what an endpoint does: instead of the work, in the work, in its answer, on the wire.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::Response;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};
use url::Url;

use super::answer::{Answer, AnswerBody, ReplyBody, whole};
use super::authorize;
use super::fault::{Fault, ScopeStyle};
use super::microsoft_errors::{self, graph_error};
use super::microsoft_scopes::GRAPH;
use super::provider::{Endpoint, Provider};
use super::world::{Call, Shaping};
use super::{google_errors, notion, oidc};

const MEBIBYTE: usize = 1024 * 1024;
/// Long enough for a loopback socket to take a few kilobytes.
const FLUSH_PAUSE: Duration = Duration::from_millis(5);

// === instead of the work ===

/// The answer that takes the place of the endpoint's own, if this fault gives one.
pub fn instead(fault: &Fault, call: &Call<'_>, endpoint: Endpoint) -> Option<Answer> {
    let answer = match fault {
        Fault::Error { code } if endpoint == Endpoint::Authorize => {
            authorize::back_with_error(call, code, "injected")
        }
        Fault::Error { code } => dialect_error(call, endpoint, code),
        Fault::PlainOauthError { code } => {
            let status = if code == "invalid_client" { 401 } else { 400 };
            Answer::json(status, json!({ "error": code }))
        }
        Fault::Answer {
            status,
            content_type,
            headers,
            body,
        } => custom(*status, content_type, headers, body),
        Fault::TooManyRequests { retry_after } => {
            let answer = match call.provider {
                Provider::Microsoft if endpoint == Endpoint::Api => graph_error("TooManyRequests"),
                Provider::Microsoft => microsoft_errors::too_many_requests(),
                Provider::Notion => notion::error("rate_limited"),
                Provider::Google | Provider::YouTube if endpoint == Endpoint::Api => {
                    google_errors::api_error(429)
                }
                Provider::Google | Provider::YouTube | Provider::Oidc => {
                    Answer::json(429, json!({ "error": "rate_limit_exceeded" }))
                }
            };
            match retry_after {
                Some(retry_after) => answer.with_header("retry-after", retry_after.clone()),
                None => answer,
            }
        }
        Fault::ServerError { status } => server_error(call, endpoint, *status),
        Fault::HtmlBody { status } => {
            let page = "<!DOCTYPE html><html><head><title>Attention Required!</title></head>\
                        <body><h1>Sorry, you have been blocked</h1></body></html>";
            Answer::html(*status, page.to_owned()).with_header("cf-ray", "8a1b2c3d4e5f6789-FRA")
        }
        Fault::EmptyBody { status } => Answer::new(*status, AnswerBody::Empty),
        Fault::NonsenseJson => Answer::new(
            200,
            AnswerBody::Text("application/json".into(), r#"{"access_token": oops]"#.to_owned()),
        ),
        Fault::Redirect { to } => Answer::new(307, AnswerBody::Empty).with_header("location", to.clone()),
        Fault::HugeBody { .. } => Answer::new(200, AnswerBody::Empty),
        _ => return None,
    };
    Some(answer)
}

fn dialect_error(call: &Call<'_>, endpoint: Endpoint, code: &str) -> Answer {
    let resource = matches!(endpoint, Endpoint::Api | Endpoint::Userinfo);
    match call.provider {
        Provider::Google | Provider::YouTube if resource => {
            google_errors::api_error_by_code(code).unwrap_or_else(|| google_errors::api_error(401))
        }
        Provider::Google | Provider::YouTube => google_errors::error(code),
        Provider::Microsoft if resource => graph_error(code),
        Provider::Microsoft => microsoft_errors::by_code(call, code),
        Provider::Notion => notion::error(code),
        Provider::Oidc => oidc::error(code),
    }
}

fn server_error(call: &Call<'_>, endpoint: Endpoint, status: u16) -> Answer {
    let mut answer = match call.provider {
        Provider::Google | Provider::YouTube if endpoint == Endpoint::Api => google_errors::api_error(status),
        Provider::Google | Provider::YouTube => google_errors::error("internal_failure"),
        Provider::Microsoft if endpoint == Endpoint::Api => graph_error("serviceNotAvailable"),
        Provider::Microsoft => microsoft_errors::aadsts(call, 90033),
        Provider::Notion => notion::error(match status {
            503 => "service_unavailable",
            504 => "gateway_timeout",
            529 => "service_overload",
            _ => "internal_server_error",
        }),
        Provider::Oidc => oidc::error("server_error"),
    };
    if let Ok(status) = http::StatusCode::from_u16(status) {
        answer.status = status;
    }
    answer
}

fn custom(status: u16, content_type: &str, headers: &[(String, String)], body: &str) -> Answer {
    let answer = Answer::new(
        status,
        AnswerBody::Text(content_type.to_owned().into(), body.to_owned()),
    );
    headers.iter().fold(answer, |answer, (name, value)| {
        answer.with_header(name.clone(), value.clone())
    })
}

// === in the work ===

pub fn shaping(faults: &[Fault]) -> Shaping {
    let mut shaping = Shaping::default();
    for fault in faults {
        match fault {
            Fault::FewerScopes { without } => shaping.scopes_withheld.extend(without.iter().cloned()),
            Fault::ExtraScopes { scopes } => shaping.scopes_added.extend(scopes.iter().cloned()),
            Fault::OtherAccount { key } => shaping.account_instead = Some(key.clone()),
            _ => {}
        }
    }
    shaping
}

// === in the answer ===

pub fn alter(fault: &Fault, answer: &mut Answer) {
    match fault {
        Fault::IdToken { flaw } => {
            if let Some(draft) = &mut answer.id_token {
                draft.flaw = Some(*flaw);
            }
        }
        Fault::OmitIdToken => answer.id_token = None,
        Fault::CallbackParameter { name, value } => {
            alter_location(answer, |pairs| {
                pairs.retain(|(key, _)| key != name);
                pairs.extend(value.clone().map(|value| (name.clone(), value)));
            });
        }
        Fault::RepeatCallbackParameter { name, value } => {
            alter_location(answer, |pairs| pairs.push((name.clone(), value.clone())));
        }
        _ => {
            let success = answer.status.is_success();
            if let (AnswerBody::Json(Value::Object(members)), true) = (&mut answer.body, success) {
                alter_json(fault, members);
            }
        }
    }
}

fn alter_json(fault: &Fault, members: &mut serde_json::Map<String, Value>) {
    match fault {
        Fault::OmitRefreshToken => {
            members.remove("refresh_token");
        }
        Fault::NullRefreshToken => {
            members.insert("refresh_token".to_owned(), Value::Null);
        }
        Fault::OmitScope => {
            members.remove("scope");
        }
        Fault::ScopeStyle { style } => {
            if let Some(scope) = members.get("scope").and_then(Value::as_str) {
                let styled = restyle(*style, scope);
                members.insert("scope".to_owned(), styled);
            }
        }
        Fault::ExpiresIn { value } => {
            members.insert("expires_in".to_owned(), value.clone());
        }
        Fault::MissingTokenType => {
            members.remove("token_type");
        }
        Fault::Set { field, value } => {
            members.insert(field.clone(), value.clone());
        }
        Fault::Remove { field } => {
            members.remove(field);
        }
        _ => {}
    }
}

fn restyle(style: ScopeStyle, scope: &str) -> Value {
    match style {
        ScopeStyle::Unprefixed => json!(scope.replace(&format!("{GRAPH}/"), "")),
        ScopeStyle::Lowercase => json!(scope.to_lowercase()),
        ScopeStyle::Uppercase => json!(scope.to_uppercase()),
        ScopeStyle::CommaSeparated => json!(scope.replace(' ', ",")),
        ScopeStyle::JsonArray => json!(scope.split(' ').collect::<Vec<_>>()),
    }
}

fn alter_location(answer: &mut Answer, change: impl FnOnce(&mut Vec<(String, String)>)) {
    let Some(location) = answer.header_mut("location") else {
        return;
    };
    let Ok(mut uri) = Url::parse(location) else { return };
    let mut pairs: Vec<(String, String)> = uri.query_pairs().into_owned().collect();
    change(&mut pairs);
    uri.query_pairs_mut().clear().extend_pairs(pairs);
    *location = uri.into();
}

// === on the wire ===

/// The response as it leaves the simulator.
pub fn transmit(faults: &[Fault], answer: &Answer) -> Response<ReplyBody> {
    let (content_type, bytes) = answer.content();
    for fault in faults {
        match fault {
            Fault::HugeBody { mebibytes } => {
                let start = Bytes::from_static(b"{\"access_token\":\"");
                let body = chunks(start, filling(b'A', *mebibytes), Bytes::new());
                return answer.respond_with(Some("application/json"), body);
            }
            Fault::PaddedBody { mebibytes } => {
                return answer.respond_with(
                    content_type,
                    chunks(Bytes::new(), filling(b' ', *mebibytes), bytes),
                );
            }
            Fault::TruncateAfterRefreshToken => {
                let body = StreamBody::new(breaking_off(until_refresh_token(&bytes))).boxed_unsync();
                return answer.respond_with(content_type, body);
            }
            Fault::TruncateQuietly => {
                return answer.respond_with(content_type, whole(until_refresh_token(&bytes)));
            }
            Fault::SlowDrip { per_byte } => {
                let per_byte = *per_byte;
                let drops = stream::unfold(bytes, move |mut rest| async move {
                    if rest.is_empty() {
                        return None;
                    }
                    tokio::time::sleep(per_byte).await;
                    let byte = rest.split_to(1);
                    Some((Ok(Frame::data(byte)), rest))
                });
                return answer.respond_with(content_type, StreamBody::new(drops).boxed_unsync());
            }
            _ => {}
        }
    }
    answer.respond()
}

/// So many MiB of `byte`, all of them the same piece of memory.
fn filling(byte: u8, mebibytes: u32) -> impl Iterator<Item = Bytes> + Send + 'static {
    let piece = Bytes::from(vec![byte; MEBIBYTE]);
    (0..mebibytes).map(move |_| piece.clone())
}

fn chunks(start: Bytes, middle: impl Iterator<Item = Bytes> + Send + 'static, end: Bytes) -> ReplyBody {
    let all = std::iter::once(start).chain(middle).chain(std::iter::once(end));
    let frames = all
        .filter(|bytes| !bytes.is_empty())
        .map(|bytes| Ok(Frame::data(bytes)));
    StreamBody::new(stream::iter(frames)).boxed_unsync()
}

/// What there is, and when that is on its way: an error, which closes the connection.
fn breaking_off(bytes: Bytes) -> impl Stream<Item = Result<Frame<Bytes>, io::Error>> + Send + 'static {
    let end = stream::once(async {
        // The pause lets hyper send what it holds; without it the bytes would be lost with the connection.
        tokio::time::sleep(FLUSH_PAUSE).await;
        Err(io::Error::other("the simulator breaks off here"))
    });
    stream::iter([Ok(Frame::data(bytes))]).chain(end)
}

/// The answer up to just behind the refresh token; its first half if there is none.
fn until_refresh_token(bytes: &Bytes) -> Bytes {
    const NAME: &[u8] = b"\"refresh_token\":\"";
    let start = bytes
        .windows(NAME.len())
        .position(|window| window == NAME)
        .map(|at| at + NAME.len());
    let end = start.and_then(|start| {
        bytes[start..]
            .iter()
            .position(|byte| *byte == b'"')
            .map(|len| start + len + 1)
    });
    bytes.slice(..end.unwrap_or(bytes.len() / 2))
}
