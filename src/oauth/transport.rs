//! HTTP as the engine needs it: one request, one capped answer, one deadline.
//!
//! No redirect is followed (a redirected token request would carry the client's secret elsewhere), no proxy is taken from
//! the environment, no cookie is kept and nothing is retried. Nothing is asked to come compressed; what does is unfolded
//! under the same cap. What went wrong is told as *never
//! left* or *may have been done*: the one distinction a refresh depends on. Bodies are wiped and never logged; errors of
//! the HTTP client are dropped where they appear, because they carry addresses.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Client, redirect};
use tokio::time::{Instant, timeout_at};
use url::Url;
use zeroize::Zeroizing;

use super::{
    address::{AddressPolicy, NotAllowed, PolicyResolver},
    content_coding::IncomingBody,
    settings::{EngineSettings, InvalidSettings},
};

/// How long an unused connection is kept. Shorter than the shortest usual idle limit of servers (five seconds, Node.js),
/// so that a refresh does not go out on a connection that is just being closed: its outcome would be unknown.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// First allocation for a body of unknown length; most answers fit, and growing leaves copies behind.
const BODY_EXPECTED_BYTES: usize = 8 * 1024;

/// A request on its way out.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Zeroizing<Vec<u8>>>,
    /// Where this provider's addresses may lead.
    pub(super) policy: AddressPolicy,
    pub(super) expects: Expects,
}

/// What is asked for, and so how long it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expects {
    /// Tokens, or why there are none.
    Answer,
    /// Metadata, keys, who an account is and what is in it.
    Document,
}

impl Call {
    /// A GET that expects a JSON document.
    pub(super) fn get(url: Url, policy: AddressPolicy) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Self {
            method: Method::GET,
            url,
            headers,
            body: None,
            policy,
            expects: Expects::Document,
        }
    }
}

/// An answer, as far as it came.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// What arrived of the body.
    pub(super) body: Zeroizing<Vec<u8>>,
    /// Why that is not all of it.
    pub(super) cut: Option<Cut>,
    /// What was sent that must not be repeated: the request's body and its bearer token. An error answer may echo it.
    pub(super) sent: Zeroizing<Vec<u8>>,
}

/// Why a body is incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    TooLarge,
    TimedOut,
    ConnectionLost,
    /// It was compressed, and is not any more what was compressed.
    Garbled,
}

impl Cut {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::TooLarge => "answer_too_large",
            Self::TimedOut => "timeout",
            Self::ConnectionLost => "connection_lost",
            Self::Garbled => "answer_garbled",
        }
    }
}

/// The name leads to no address that may be called.
pub(super) const ADDRESS_REFUSED: &str = "address_refused";
/// The server's certificate does not hold.
pub(super) const CERTIFICATE_REFUSED: &str = "certificate_refused";

/// No answer at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// The request certainly did not leave.
    NeverLeft(&'static str),
    /// It left, or may have.
    MayHaveBeenDone(&'static str),
}

/// The HTTP clients: one for providers on the internet, and one for each other policy that an operator declared.
pub(super) struct Transport {
    clients: Vec<(AddressPolicy, Client)>,
    body_max_bytes: usize,
    document_max_bytes: usize,
}

impl Transport {
    /// Clients for calls of these policies, and for the strict one.
    pub(super) fn new(
        settings: &EngineSettings,
        policies: impl IntoIterator<Item = AddressPolicy>,
    ) -> Result<Self, InvalidSettings> {
        let strict = AddressPolicy::default();
        let mut clients = vec![(strict, build(settings, strict)?)];
        for policy in policies {
            if clients.iter().all(|(known, _)| *known != policy) {
                clients.push((policy, build(settings, policy)?));
            }
        }
        Ok(Self {
            clients,
            body_max_bytes: settings.body_max_bytes,
            document_max_bytes: settings.document_max_bytes,
        })
    }

    fn client(&self, policy: AddressPolicy) -> Option<&Client> {
        let found = self.clients.iter().find(|(known, _)| *known == policy);
        found.map(|(_, client)| client)
    }

    /// Sends once and reads until the end, the cap or the deadline. The deadline covers everything: a server that sends
    /// one byte a second does not outlast it.
    pub(super) async fn send(&self, call: Call, deadline: Instant) -> Result<Answer, NoAnswer> {
        let client = self
            .client(call.policy)
            .ok_or(NoAnswer::NeverLeft("invalid_request"))?;
        let bytes_max = match call.expects {
            Expects::Answer => self.body_max_bytes,
            Expects::Document => self.document_max_bytes,
        };
        let mut sent = call.body.unwrap_or_default();
        let mut request = client.request(call.method, call.url);
        if !sent.is_empty() {
            request = request.body(sent.to_vec());
        }
        if let Some(credentials) = call.headers.get(header::AUTHORIZATION) {
            sent.extend_from_slice(credentials.as_bytes());
        }
        let request = request.headers(call.headers);
        let mut response = match timeout_at(deadline, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => return Err(NoAnswer::NeverLeft(unconnected(&error))),
            Ok(Err(error)) if error.is_builder() => return Err(NoAnswer::NeverLeft("invalid_request")),
            Ok(Err(_)) => return Err(NoAnswer::MayHaveBeenDone("connection_lost")),
            Err(_) => return Err(NoAnswer::MayHaveBeenDone("timeout")),
        };

        let announced = response
            .content_length()
            .and_then(|bytes| usize::try_from(bytes).ok());
        let capacity = announced.unwrap_or(BODY_EXPECTED_BYTES);
        let mut body = IncomingBody::new(response.headers(), bytes_max, capacity);
        let cut = loop {
            match timeout_at(deadline, response.chunk()).await {
                Ok(Ok(Some(chunk))) => {
                    if let Err(cut) = body.push(&chunk) {
                        break Some(cut);
                    }
                }
                Ok(Ok(None)) => break None,
                Ok(Err(_)) => break Some(Cut::ConnectionLost),
                Err(_) => break Some(Cut::TimedOut),
            }
        };
        let (body, missing) = body.finish();
        Ok(Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body,
            cut: cut.or(missing),
            sent,
        })
    }
}

/// Why there is no connection, as far as it tells whose matter that is.
fn unconnected(error: &reqwest::Error) -> &'static str {
    if NotAllowed::is_cause_of(error) {
        return ADDRESS_REFUSED;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(error) = cause {
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        let of_tls = error
            .downcast_ref::<rustls::Error>()
            .or_else(|| inner?.downcast_ref::<rustls::Error>());
        if matches!(of_tls, Some(rustls::Error::InvalidCertificate(_))) {
            return CERTIFICATE_REFUSED;
        }
        cause = error.source();
    }
    "connect_failed"
}

fn build(settings: &EngineSettings, policy: AddressPolicy) -> Result<Client, InvalidSettings> {
    let failed = |what: &str| InvalidSettings::Client(what.to_owned());
    let mut headers = HeaderMap::new();
    // An answer is too short to be worth folding, and secrets and compression do not go well together.
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Client::builder()
        .tls_backend_preconfigured(tls()?)
        .user_agent(HeaderValue::from_str(&settings.user_agent).map_err(|_| failed("unusable user agent"))?)
        .default_headers(headers)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(POOL_IDLE)
        .https_only(!policy.loopback)
        .dns_resolver(Arc::new(PolicyResolver(policy)))
        .build()
        .map_err(|_| failed("cannot be built"))
}

/// TLS 1.2 and 1.3 with ring and the machine's trusted roots. A machine without any still starts: every TLS handshake is
/// then refused, and a provider on loopback works.
fn tls() -> Result<rustls::ClientConfig, InvalidSettings> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| InvalidSettings::Client("no TLS version in common with the library".to_owned()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_leads_where_it_must_not_is_told_from_one_that_does_not_answer() {
        let transport = Transport::new(&EngineSettings::default(), [AddressPolicy::default()]).unwrap();
        let call = Call::get("https://localhost:9/".parse().unwrap(), AddressPolicy::default());
        let deadline = Instant::now() + Duration::from_secs(30);
        let failure = transport.send(call, deadline).await.err();
        assert_eq!(failure, Some(NoAnswer::NeverLeft("address_refused")));
    }
}
