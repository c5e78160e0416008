//! Client authentication at token, revocation and introspection endpoints (RFC 6749, 2.3).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::request::Request;
use super::world::{Call, World};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Basic,
    Post,
}

/// How the two halves of Basic credentials are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BasicEncoding {
    /// Form-encoded before base64, as RFC 6749 asks.
    FormEncoded,
    /// As they are.
    Raw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientRefusal {
    #[error("no client credentials were sent")]
    Missing,
    #[error("the client credentials cannot be read")]
    Malformed,
    #[error("credentials came in header and body at once")]
    TwoMethods,
    #[error("this way of client authentication is not offered")]
    MethodNotOffered,
    #[error("no client has this id")]
    UnknownClient,
    #[error("the client secret is wrong")]
    WrongSecret,
    #[error("the client secret is missing")]
    SecretMissing,
}

/// Proves who is calling and returns the client's id.
pub fn authenticate(
    world: &World,
    call: &Call<'_>,
    offered: &[Method],
    encoding: BasicEncoding,
) -> Result<String, ClientRefusal> {
    let (method, id, secret) = presented(call.request, encoding)?;
    if !offered.contains(&method) {
        return Err(ClientRefusal::MethodNotOffered);
    }
    let client = world
        .client(call.provider, &id)
        .ok_or(ClientRefusal::UnknownClient)?;
    match secret {
        Some(secret) if secret == client.client_secret => Ok(id),
        Some(_) => Err(ClientRefusal::WrongSecret),
        None => Err(ClientRefusal::SecretMissing),
    }
}

fn presented(
    request: &Request,
    encoding: BasicEncoding,
) -> Result<(Method, String, Option<String>), ClientRefusal> {
    let basic = request
        .header("authorization")
        .map(|header| basic(header, encoding));
    match (basic, request.field("client_secret"), request.field("client_id")) {
        (Some(_), Some(_), _) => Err(ClientRefusal::TwoMethods),
        (Some(credentials), None, in_body) => {
            let (id, secret) = credentials?;
            // A repeated client_id is harmless as long as it is the same one.
            if in_body.is_some_and(|other| other != id) {
                return Err(ClientRefusal::TwoMethods);
            }
            Ok((Method::Basic, id, Some(secret)))
        }
        (None, secret, Some(id)) => Ok((Method::Post, id.to_owned(), secret.map(str::to_owned))),
        (None, _, None) => Err(ClientRefusal::Missing),
    }
}

fn basic(header: &str, encoding: BasicEncoding) -> Result<(String, String), ClientRefusal> {
    let (scheme, credentials) = header.split_once(' ').ok_or(ClientRefusal::Malformed)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(ClientRefusal::Malformed);
    }
    let decoded = STANDARD
        .decode(credentials.trim())
        .map_err(|_| ClientRefusal::Malformed)?;
    let decoded = String::from_utf8(decoded).map_err(|_| ClientRefusal::Malformed)?;
    let (id, secret) = decoded.split_once(':').ok_or(ClientRefusal::Malformed)?;
    match encoding {
        BasicEncoding::Raw => Ok((id.to_owned(), secret.to_owned())),
        BasicEncoding::FormEncoded => Ok((form_decode(id)?, form_decode(secret)?)),
    }
}

fn form_decode(text: &str) -> Result<String, ClientRefusal> {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| ClientRefusal::Malformed)
}
