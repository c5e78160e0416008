//! What the providers remember: codes, grants and the tokens that hang on them. The rules all providers share live
//! here; each dialect decides which of them to use.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::account::Account;
use super::archive;
use super::clock::Millis;
use super::pkce::Challenge;
use super::provider::Provider;
use super::random;
use super::request::Request;

/// RFC 6749 recommends ten minutes at most, and all the providers keep to it.
const CODE_LIFETIME_MS: Millis = 10 * 60 * 1000;
/// Spent codes are kept this long, so that using one twice is told from inventing one.
const CODE_KEPT_MS: Millis = 2 * CODE_LIFETIME_MS;
const CODES_BETWEEN_SWEEPS: usize = 4096;
/// Tokens of one grant that are remembered; a test that refreshes more often than this loses the oldest.
const ACCESS_TOKENS_PER_GRANT_MAX: usize = 256;
const REFRESH_TOKENS_PER_GRANT_MAX: usize = 4096;

pub type Scopes = BTreeSet<String>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GrantId(u64);

/// One person's consent to one application.
#[derive(Debug, Serialize, Deserialize)]
pub struct Grant {
    pub provider: Provider,
    pub client_id: String,
    pub account: Arc<Account>,
    /// Everything consented to so far.
    pub scopes: Scopes,
    pub alive: bool,
    pub ever_gave_refresh_token: bool,
    access_tokens: VecDeque<String>,
    refresh_tokens: VecDeque<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Code {
    pub provider: Provider,
    pub client_id: String,
    pub redirect_uri: Option<String>,
    pub account: Arc<Account>,
    pub scopes: Vec<String>,
    pub challenge: Option<Challenge>,
    pub nonce: Option<String>,
    /// Google's `access_type=offline`; elsewhere what the scopes say.
    pub offline: bool,
    /// Google's `prompt=consent`.
    pub consent_forced: bool,
    /// Google's `include_granted_scopes=true`.
    pub include_granted: bool,
    pub issued_at: Millis,
    pub spent_on: Option<GrantId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccessToken {
    pub grant: GrantId,
    pub scopes: Scopes,
    pub issued_at: Millis,
    pub expires_at: Option<Millis>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefreshToken {
    pub grant: GrantId,
    pub scopes: Scopes,
    /// Where using a token prolongs its life; elsewhere when it was issued.
    pub last_used_at: Millis,
    pub state: RefreshTokenState,
    /// When it was replaced and by what, where the provider forgives presenting it again.
    pub successor: Option<(Millis, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefreshTokenState {
    Live,
    /// Replaced by a newer one, where the provider lets only the newest work.
    Rotated,
    Revoked,
}

/// Why a code is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeRefusal {
    #[error("this code was never issued")]
    Unknown,
    #[error("this code has been used already")]
    Spent(GrantId),
    #[error("this code is older than ten minutes")]
    Expired,
    #[error("this code was issued to another client")]
    OtherClient,
    #[error("redirect_uri differs from the one of the authorization request")]
    RedirectUri,
    #[error("code_verifier is missing, although a challenge was sent")]
    VerifierMissing,
    #[error("code_verifier does not fit the challenge")]
    VerifierWrong,
    #[error("code_verifier was sent, although there was no challenge")]
    VerifierUnexpected,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Ledger {
    grants: HashMap<GrantId, Grant>,
    /// Where a provider keeps one grant per person and application.
    #[serde(with = "archive::pairs")]
    by_owner: HashMap<(Provider, String, String), GrantId>,
    codes: HashMap<String, Code>,
    access_tokens: HashMap<String, AccessToken>,
    refresh_tokens: HashMap<String, RefreshToken>,
    last_grant: u64,
}

// === impl Ledger: codes ===

impl Ledger {
    pub fn issue_code(&mut self, text: String, code: Code) {
        if self.codes.len() % CODES_BETWEEN_SWEEPS == CODES_BETWEEN_SWEEPS - 1 {
            let now = code.issued_at;
            self.codes.retain(|_, old| now - old.issued_at < CODE_KEPT_MS);
        }
        self.codes.insert(text, code);
    }

    /// Checks everything there is to check about a code; [`Self::spend_code`] is for afterwards.
    pub fn check_code(
        &self,
        text: &str,
        client: (Provider, &str),
        redirect_uri: Option<&str>,
        verifier: Option<&str>,
        now: Millis,
    ) -> Result<Code, CodeRefusal> {
        let code = self.codes.get(text).ok_or(CodeRefusal::Unknown)?;
        if (code.provider, code.client_id.as_str()) != client {
            return Err(CodeRefusal::OtherClient);
        }
        if let Some(grant) = code.spent_on {
            return Err(CodeRefusal::Spent(grant));
        }
        if now - code.issued_at > CODE_LIFETIME_MS {
            return Err(CodeRefusal::Expired);
        }
        if code.redirect_uri.as_deref() != redirect_uri {
            return Err(CodeRefusal::RedirectUri);
        }
        match (&code.challenge, verifier) {
            (None, None) => {}
            (None, Some(_)) => return Err(CodeRefusal::VerifierUnexpected),
            (Some(_), None) => return Err(CodeRefusal::VerifierMissing),
            (Some(challenge), Some(verifier)) if challenge.answered_by(verifier) => {}
            (Some(_), Some(_)) => return Err(CodeRefusal::VerifierWrong),
        }
        Ok(code.clone())
    }

    pub fn spend_code(&mut self, text: &str, on: GrantId) {
        if let Some(code) = self.codes.get_mut(text) {
            code.spent_on = Some(on);
        }
    }
}

// === impl Ledger: grants ===

impl Ledger {
    /// The living grant of this person to this application, or a new one.
    pub fn shared_grant(&mut self, provider: Provider, client_id: &str, account: &Arc<Account>) -> GrantId {
        let owner = (provider, client_id.to_owned(), account.subject.clone());
        if let Some(id) = self.by_owner.get(&owner)
            && self.grants.get(id).is_some_and(|grant| grant.alive)
        {
            return *id;
        }
        let id = self.new_grant(provider, client_id, account);
        self.by_owner.insert(owner, id);
        id
    }

    pub fn new_grant(&mut self, provider: Provider, client_id: &str, account: &Arc<Account>) -> GrantId {
        self.last_grant += 1;
        let id = GrantId(self.last_grant);
        self.grants.insert(
            id,
            Grant {
                provider,
                client_id: client_id.to_owned(),
                account: Arc::clone(account),
                scopes: Scopes::new(),
                alive: true,
                ever_gave_refresh_token: false,
                access_tokens: VecDeque::new(),
                refresh_tokens: VecDeque::new(),
            },
        );
        id
    }

    pub fn grant(&self, id: GrantId) -> Option<&Grant> {
        self.grants.get(&id)
    }

    pub fn grant_mut(&mut self, id: GrantId) -> Option<&mut Grant> {
        self.grants.get_mut(&id)
    }

    /// What this person has consented to for this application so far.
    pub fn consented(&self, provider: Provider, client_id: &str, account: &Account) -> Option<&Grant> {
        let id = self
            .by_owner
            .get(&(provider, client_id.to_owned(), account.subject.clone()))?;
        self.grants.get(id).filter(|grant| grant.alive)
    }

    /// Ends a grant and every token that hangs on it.
    pub fn kill_grant(&mut self, id: GrantId) {
        let Some(grant) = self.grants.get_mut(&id) else {
            return;
        };
        grant.alive = false;
        for token in grant.access_tokens.drain(..) {
            self.access_tokens.remove(&token);
        }
        for token in &grant.refresh_tokens {
            if let Some(token) = self.refresh_tokens.get_mut(token) {
                token.state = RefreshTokenState::Revoked;
            }
        }
    }

    /// The user takes back consent, at the provider. Tells how many grants that ended.
    pub fn kill_grants_of(&mut self, provider: Provider, account: Option<&str>) -> usize {
        let doomed: Vec<GrantId> = self
            .grants
            .iter()
            .filter(|(_, grant)| grant.alive && grant.provider == provider)
            .filter(|(_, grant)| account.is_none_or(|hint| grant.account.answers_to(hint)))
            .map(|(id, _)| *id)
            .collect();
        for id in &doomed {
            self.kill_grant(*id);
        }
        doomed.len()
    }
}

// === impl Ledger: tokens ===

impl Ledger {
    pub fn issue_access_token(&mut self, text: &str, token: AccessToken) {
        if let Some(grant) = self.grants.get_mut(&token.grant) {
            while grant.access_tokens.len() >= ACCESS_TOKENS_PER_GRANT_MAX {
                if let Some(oldest) = grant.access_tokens.pop_front() {
                    self.access_tokens.remove(&oldest);
                }
            }
            grant.access_tokens.push_back(text.to_owned());
        }
        self.access_tokens.insert(text.to_owned(), token);
    }

    pub fn issue_refresh_token(&mut self, text: &str, token: RefreshToken) {
        if let Some(grant) = self.grants.get_mut(&token.grant) {
            grant.ever_gave_refresh_token = true;
            while grant.refresh_tokens.len() >= REFRESH_TOKENS_PER_GRANT_MAX {
                if let Some(oldest) = grant.refresh_tokens.pop_front() {
                    self.refresh_tokens.remove(&oldest);
                }
            }
            grant.refresh_tokens.push_back(text.to_owned());
        }
        self.refresh_tokens.insert(text.to_owned(), token);
    }

    /// A token and its grant, if it still works.
    pub fn live_access_token(&self, text: &str, now: Millis) -> Option<(&AccessToken, &Grant)> {
        let token = self.access_tokens.get(text)?;
        if token.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return None;
        }
        let grant = self.grants.get(&token.grant).filter(|grant| grant.alive)?;
        Some((token, grant))
    }

    pub fn refresh_token(&self, text: &str) -> Option<&RefreshToken> {
        self.refresh_tokens.get(text)
    }

    pub fn refresh_token_mut(&mut self, text: &str) -> Option<&mut RefreshToken> {
        self.refresh_tokens.get_mut(text)
    }

    /// The grant a token of either kind hangs on, dead or alive.
    pub fn grant_of_token(&self, text: &str, now: Millis) -> Option<GrantId> {
        let refresh = self
            .refresh_tokens
            .get(text)
            .filter(|token| token.state == RefreshTokenState::Live);
        let access = || self.live_access_token(text, now).map(|(token, _)| token.grant);
        refresh.map(|token| token.grant).or_else(access)
    }

    /// Whose code or token a request presents, dead or alive.
    pub fn account_presented_by(&self, request: &Request) -> Option<&Account> {
        let code = request.field("code").and_then(|text| self.codes.get(text));
        if let Some(code) = code {
            return Some(&code.account);
        }
        let tokens = [
            request.field("refresh_token"),
            request.field("token"),
            request.bearer_token(),
        ];
        let grant = tokens.into_iter().flatten().find_map(|text| {
            let refresh = self.refresh_tokens.get(text).map(|token| token.grant);
            refresh.or_else(|| self.access_tokens.get(text).map(|token| token.grant))
        });
        self.grants.get(&grant?).map(|grant| &*grant.account)
    }

    /// Ends the access tokens of a grant, not the grant.
    pub fn end_access_tokens(&mut self, id: GrantId) {
        let Some(grant) = self.grants.get_mut(&id) else {
            return;
        };
        for token in grant.access_tokens.drain(..) {
            self.access_tokens.remove(&token);
        }
    }

    /// Google: the oldest refresh tokens of a grant beyond `max` die without a word.
    pub fn forget_oldest_refresh_tokens(&mut self, id: GrantId, max: usize) {
        let Some(grant) = self.grants.get_mut(&id) else {
            return;
        };
        while grant.refresh_tokens.len() > max.max(1) {
            if let Some(oldest) = grant.refresh_tokens.pop_front() {
                self.refresh_tokens.remove(&oldest);
            }
        }
    }

    /// Ends every access token at this provider, as if all had expired at once.
    pub fn expire_access_tokens(&mut self, provider: Provider, now: Millis) {
        let Self {
            grants,
            access_tokens,
            ..
        } = self;
        for token in access_tokens.values_mut() {
            if grants
                .get(&token.grant)
                .is_some_and(|grant| grant.provider == provider)
            {
                token.expires_at = Some(now);
            }
        }
    }
}

/// A request id, trace id or the like.
pub fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// An authorization code in the provider's looks.
pub fn code_text(provider: Provider) -> String {
    match provider {
        Provider::Google | Provider::YouTube => random::opaque("4/0A"),
        Provider::Microsoft => random::opaque("1.AXkA"),
        Provider::Notion => format!("03{}", uuid::Uuid::new_v4()),
        Provider::Oidc => random::opaque("code_"),
    }
}
