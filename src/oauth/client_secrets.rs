//! The client's secrets, while one is exchanged for another: which of two the provider takes, and what their files hold
//! now. Nothing of a value leaves here but for the wire.
//!
//! A second secret is tried within the same attempt only after the provider said that it does not know us, or answered 401
//! without saying why: then it has looked at nothing else (RFC 6749 2.3 and 5.2), and neither the code nor the refresh token
//! is spent.

use std::{
    path::PathBuf,
    sync::{PoisonError, RwLock},
};

use http::StatusCode;
use jiff::Timestamp;
use oauth_manager_actors::{domain::ids::ProviderKey, ports::oauth::FailureKind};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use super::{
    classify::{self, Step},
    engine::Engine,
    registration::Registration,
    settings::{ClientAuth, ClientSecret, ProviderSettings},
    token_request,
    transport::{Answer, NoAnswer},
};

/// No secret is longer.
const FILE_BYTES_MAX: usize = 64 * 1024;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    First,
    Next,
}

impl Which {
    fn other(self) -> Self {
        match self {
            Self::First => Self::Next,
            Self::Next => Self::First,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Next => "next",
        }
    }
}

/// The secrets of one registration.
pub(super) struct ClientSecrets {
    provider: ProviderKey,
    state: RwLock<State>,
}

struct State {
    first: Option<ClientSecret>,
    next: Option<ClientSecret>,
    preferred: Which,
    /// Whether the provider knew us by none of them: then their files are worth another look.
    refused: bool,
}

impl State {
    fn get(&self, which: Which) -> Option<&ClientSecret> {
        match which {
            Which::First => self.first.as_ref(),
            Which::Next => self.next.as_ref(),
        }
    }
}

impl ClientSecrets {
    pub(super) fn new(settings: &ProviderSettings) -> Self {
        Self {
            provider: settings.key.clone(),
            state: RwLock::new(State {
                first: settings.client_secret.clone(),
                next: settings.client_secret_next.clone(),
                preferred: Which::First,
                refused: false,
            }),
        }
    }

    /// What to present: the one the provider took last.
    fn in_use(&self) -> (Which, ClientSecret) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let which = state.preferred;
        let secret = state.get(which).or_else(|| state.get(which.other()));
        (which, secret.cloned().unwrap_or_else(|| ClientSecret::new("")))
    }

    /// The one to try after the provider refused this one, if there are two.
    fn instead_of(&self, which: Which) -> Option<(Which, ClientSecret)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let (Some(refused), Some(other)) = (state.get(which), state.get(which.other())) else {
            return None;
        };
        (refused.expose() != other.expose()).then(|| (which.other(), other.clone()))
    }

    /// The provider knew us by this one.
    fn accepted(&self, which: Which) {
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if state.preferred == which && !state.refused {
                return;
            }
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.refused = false;
        if state.preferred != which {
            state.preferred = which;
            tracing::warn!(
                provider.id = %self.provider, secret = which.as_str(),
                "the provider takes the other of two client secrets; it is used from now on"
            );
        }
    }

    /// The provider knew us by none of them.
    fn refused(&self) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).refused = true;
    }

    /// Reads again what was read from files, if the provider knew us by none of them: a secret that was put right there
    /// works without a restart.
    async fn look_again(&self) {
        let files: Vec<(Which, PathBuf)> = {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            if !state.refused {
                return;
            }
            [Which::First, Which::Next]
                .into_iter()
                .filter_map(|which| Some((which, state.get(which)?.file()?.to_owned())))
                .collect()
        };
        for (which, file) in files {
            let Some(secret) = read(&file).await else {
                continue;
            };
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let slot = match which {
                Which::First => &mut state.first,
                Which::Next => &mut state.next,
            };
            if slot
                .as_ref()
                .is_some_and(|known| known.expose() != secret.as_str())
            {
                *slot = Some(ClientSecret::new(secret.as_str()).from_file(file));
                tracing::info!(
                    provider.id = %self.provider, secret = which.as_str(),
                    "the file of a client secret holds another one: that is tried now"
                );
            }
        }
    }

    /// Which of the two is in use, where there are two.
    pub(super) fn shown(&self) -> Option<&'static str> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.next.as_ref().map(|_| state.preferred.as_str())
    }
}

/// A file that cannot be read now holds nothing new.
async fn read(file: &PathBuf) -> Option<Zeroizing<String>> {
    let text = Zeroizing::new(tokio::fs::read(file).await.ok()?);
    if text.len() > FILE_BYTES_MAX {
        return None;
    }
    let text = std::str::from_utf8(&text).ok()?;
    // As at the start: blanks around it are no part of it.
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\u{200b}');
    (!text.is_empty()).then(|| Zeroizing::new(text.to_owned()))
}

/// Whether the provider knows us by the secret that was presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knows {
    /// As far as it says.
    Us,
    /// It says that it does not.
    NotUs,
    /// A 401 that says nothing else (RFC 6749 5.2): Keycloak, Auth0 and others mean the client, and some mean the grant.
    Perhaps,
}

fn knows(registration: &Registration, answer: &Answer, now: Timestamp) -> Knows {
    if answer.status.is_server_error() || answer.cut.is_some() {
        return Knows::Us;
    }
    // Some say so with a success status; tokens need not be looked through for it.
    if answer.status.is_success() && !answer.body.windows(4).any(|part| part == b"\"err") {
        return Knows::Us;
    }
    let (declared, dialect) = (&registration.settings.errors, registration.dialect.as_ref());
    match classify::token_endpoint(declared, dialect, Step::Repeatable, answer, now).kind {
        FailureKind::Operator => Knows::NotUs,
        FailureKind::Refused if answer.status == StatusCode::UNAUTHORIZED => Knows::Perhaps,
        _ => Knows::Us,
    }
}

impl Engine {
    /// Posts with the client's authentication; with the other secret if the provider does not know this one.
    pub(super) async fn post_authenticated(
        &self,
        registration: &Registration,
        url: Url,
        auth: Option<ClientAuth>,
        parameters: Vec<(&str, &str)>,
        deadline: Instant,
    ) -> Result<Answer, NoAnswer> {
        let secrets = &registration.secrets;
        let has_secret = matches!(auth, Some(ClientAuth::Basic | ClientAuth::Post));
        if has_secret {
            secrets.look_again().await;
        }
        let (which, secret) = secrets.in_use();
        let call = token_request::post(registration, url.clone(), auth, &secret, parameters.clone());
        let answer = self.transport.send(call, deadline).await?;
        if !has_secret {
            return Ok(answer);
        }
        let known = knows(registration, &answer, self.clock.now());
        if known == Knows::Us {
            if answer.status.is_success() {
                secrets.accepted(which);
            }
            return Ok(answer);
        }
        let Some((other, secret)) = secrets.instead_of(which) else {
            secrets.refused();
            return Ok(answer);
        };
        let call = token_request::post(registration, url, auth, &secret, parameters);
        let second = self.transport.send(call, deadline).await;
        // What was said of a secret that may be the right one stands, unless the other one turns out to be: a refusal of
        // the other says nothing of this account, and nothing of us.
        let Ok(second) = second else {
            return if known == Knows::Perhaps {
                Ok(answer)
            } else {
                second
            };
        };
        match knows(registration, &second, self.clock.now()) {
            Knows::Us if second.status.is_success() => secrets.accepted(other),
            Knows::Us => {}
            Knows::NotUs | Knows::Perhaps => secrets.refused(),
        }
        let stands = known == Knows::Perhaps && !second.status.is_success();
        Ok(if stands { answer } else { second })
    }
}
