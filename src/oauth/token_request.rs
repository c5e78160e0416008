//! Writes requests to token and revocation endpoints: a form or JSON, the client's credentials where the provider wants
//! them. Bodies are wiped after use.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{
    declaration::BodyFormat,
    registration::Registration,
    settings::{ClientAuth, ClientSecret},
    transport::{Call, Expects},
};

/// A POST with these parameters. `auth` is `None` where the endpoint wants no client authentication.
pub(super) fn post<'a>(
    registration: &'a Registration,
    url: Url,
    auth: Option<ClientAuth>,
    secret: &'a ClientSecret,
    mut parameters: Vec<(&'a str, &'a str)>,
) -> Call {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    for (name, value) in registration.dialect.headers() {
        headers.insert(HeaderName::from_static(name), value);
    }
    match auth {
        Some(ClientAuth::Basic) => {
            headers.insert(
                header::AUTHORIZATION,
                basic(registration.client_id(), secret.expose()),
            );
        }
        Some(ClientAuth::Post) => {
            parameters.push(("client_id", registration.client_id()));
            parameters.push(("client_secret", secret.expose()));
        }
        Some(ClientAuth::None) => parameters.push(("client_id", registration.client_id())),
        None => {}
    }
    let (content_type, body) = match registration.dialect.facts().body {
        BodyFormat::Form => ("application/x-www-form-urlencoded", form(&parameters)),
        BodyFormat::Json => ("application/json", json(&parameters)),
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Call {
        method: Method::POST,
        url,
        headers,
        body: Some(Zeroizing::new(body)),
        policy: registration.policy,
        expects: Expects::Answer,
    }
}

fn form(parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(parameters);
    form.finish().into_bytes()
}

fn json(parameters: &[(&str, &str)]) -> Vec<u8> {
    let object: BTreeMap<&str, &str> = parameters.iter().copied().collect();
    // A map of texts always serialises.
    serde_json::to_vec(&object).unwrap_or_default()
}

/// RFC 6749 2.3.1: both parts are form-encoded first, so that a colon or a reserved character in one of them survives.
fn basic(id: &str, secret: &str) -> HeaderValue {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = Zeroizing::new(format!("{}:{}", encode(id), encode(secret)));
    let value = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    // Base64 is always a header value.
    let mut header = HeaderValue::from_str(&value).unwrap_or_else(|_| HeaderValue::from_static("Basic"));
    header.set_sensitive(true);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_auth_encodes_reserved_chars() {
        let header = basic("client:1", "s p&c=%+ü/");
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let pair = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
        assert_eq!(pair, "client%3A1:s+p%26c%3D%25%2B%C3%BC%2F");
        assert_eq!(format!("{header:?}"), "Sensitive");
    }
}
