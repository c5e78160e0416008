//! One provider's books: pages people are on, codes, grants, and every token with what became of it.

use std::{collections::HashMap, time::Duration};

use super::script::Script;
use crate::{
    domain::{
        Timestamp,
        provider::RefreshClass,
        scope::ScopeSet,
        secret::{AccessToken, RefreshToken},
        token::TokenAnswer,
    },
    ports::oauth::{AuthorizationUrlRequest, CallbackIssuer, ExchangeRequest},
    shared::{after, until},
};

#[derive(Debug)]
pub(super) struct Books {
    class: RefreshClass,
    pub(super) script: Script,
    pub(super) token_life: Option<Duration>,
    /// How long refresh tokens live, and whether a refresh gives them a new life.
    pub(super) refresh_token_life: Option<(Duration, bool)>,
    pub(super) granted: Option<ScopeSet>,
    pub(super) issuer: Option<CallbackIssuer>,
    pub(super) gives_refresh_token: bool,
    pub(super) offences: Vec<String>,
    serial: u64,
    pages: HashMap<String, AuthorizationUrlRequest>,
    codes: HashMap<String, Code>,
    grants: Vec<Grant>,
    refresh_tokens: HashMap<String, Presented>,
    access_tokens: HashMap<String, (usize, Option<Timestamp>)>,
}

#[derive(Debug)]
struct Code {
    page: AuthorizationUrlRequest,
    account: String,
    grant: Option<usize>,
}

#[derive(Debug)]
struct Grant {
    account: String,
    scopes: ScopeSet,
    alive: bool,
    /// Ended by its user.
    withdrawn: bool,
    since: Timestamp,
}

#[derive(Debug)]
struct Presented {
    grant: usize,
    times: usize,
    first_at: Option<Timestamp>,
}

impl Books {
    pub(super) fn new(class: RefreshClass) -> Self {
        Self {
            class,
            script: Script::default(),
            token_life: Some(Duration::from_secs(3600)),
            refresh_token_life: None,
            granted: None,
            issuer: None,
            gives_refresh_token: true,
            offences: Vec::new(),
            serial: 0,
            pages: HashMap::new(),
            codes: HashMap::new(),
            grants: Vec::new(),
            refresh_tokens: HashMap::new(),
            access_tokens: HashMap::new(),
        }
    }

    fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn depart(&mut self, page: AuthorizationUrlRequest) {
        self.pages.insert(page.state.expose().to_owned(), page);
    }

    #[expect(clippy::expect_used, reason = "a test's own mistake")]
    pub(super) fn consent(&mut self, state: &str, account: &str) -> String {
        let page = self
            .pages
            .get(state)
            .expect("somebody was sent here with this state")
            .clone();
        let code = format!("code-{}", self.serial());
        self.codes.insert(
            code.clone(),
            Code {
                page,
                account: account.into(),
                grant: None,
            },
        );
        code
    }

    pub(super) fn withdraw(&mut self, account: &str) {
        for grant in self.grants.iter_mut().filter(|grant| grant.account == account) {
            grant.withdrawn |= grant.alive;
            grant.alive = false;
        }
    }

    /// `None`: the code does not hold. A code that comes twice ends what came of it (RFC 6749 4.1.2).
    pub(super) fn exchange(
        &mut self,
        request: &ExchangeRequest,
        now: Timestamp,
    ) -> Option<(TokenAnswer, String)> {
        let code = self.codes.get_mut(request.code.expose())?;
        if let Some(grant) = code.grant {
            self.grants[grant].alive = false;
            return None;
        }
        let same = code.page.verifier.expose() == request.verifier.expose()
            && code.page.redirect_uri == request.redirect_uri
            && code.page.nonce == request.nonce;
        if !same {
            return None;
        }
        let grant = self.grants.len();
        code.grant = Some(grant);
        let account = code.account.clone();
        let scopes = self.granted.clone().unwrap_or_else(|| code.page.scopes.clone());
        self.grants.push(Grant {
            account: account.clone(),
            scopes,
            alive: true,
            withdrawn: false,
            since: now,
        });
        let gives = self.gives_refresh_token;
        Some((self.issue(grant, gives, now), account))
    }

    /// `None`: `invalid_grant`.
    pub(super) fn refresh(&mut self, token: &str, now: Timestamp) -> Option<TokenAnswer> {
        let presented = self.refresh_tokens.get_mut(token)?;
        presented.times += 1;
        let grant = presented.grant;
        let first_at = *presented.first_at.get_or_insert(now);
        if presented.times > 1 {
            let allowed = match self.class {
                RefreshClass::Safe => true,
                RefreshClass::Grace { window } => until(first_at, now) < window,
                RefreshClass::SingleUse => false,
            };
            if !allowed {
                self.offences.push(token.to_owned());
                self.grants[grant].alive = false;
            }
        }
        if !self.grants[grant].alive {
            return None;
        }
        Some(self.issue(grant, self.class != RefreshClass::Safe, now))
    }

    fn issue(&mut self, grant: usize, refresh_token: bool, now: Timestamp) -> TokenAnswer {
        let serial = self.serial();
        let account = self.grants[grant].account.clone();
        let access_token = format!("access-{account}-{serial}");
        let expires_at = self.token_life.map(|life| after(now, life));
        self.access_tokens
            .insert(access_token.clone(), (grant, expires_at));
        let refresh_token = refresh_token.then(|| {
            let token = format!("refresh-{account}-{serial}");
            self.refresh_tokens.insert(
                token.clone(),
                Presented {
                    grant,
                    times: 0,
                    first_at: None,
                },
            );
            RefreshToken::new(token)
        });
        let refresh_token_expires_at = self.refresh_token_life.map(|(life, slides)| {
            let since = if slides { now } else { self.grants[grant].since };
            after(since, life)
        });
        TokenAnswer {
            access_token: AccessToken::new(access_token),
            token_type: "Bearer".into(),
            expires_at,
            refresh_token,
            refresh_token_expires_at,
            scopes: Some(self.grants[grant].scopes.clone()),
            remark: None,
        }
    }

    pub(super) fn revoke(&mut self, refresh_token: &str, access_token: &str) {
        let by_refresh = self
            .refresh_tokens
            .get(refresh_token)
            .map(|presented| presented.grant);
        let by_access = self.access_tokens.get(access_token).map(|(grant, _)| *grant);
        if let Some(grant) = by_refresh.or(by_access) {
            self.grants[grant].alive = false;
        }
    }

    pub(super) fn accepts(&self, access_token: &str, now: Timestamp) -> bool {
        self.access_tokens
            .get(access_token)
            .is_some_and(|(grant, end)| self.grants[*grant].alive && end.is_none_or(|end| end > now))
    }

    /// Whose token this is, and when it ends.
    pub(super) fn known(&self, access_token: &str) -> Option<(String, Option<Timestamp>)> {
        let (grant, end) = self.access_tokens.get(access_token)?;
        Some((self.grants[*grant].account.clone(), *end))
    }

    /// Whether the grant of this refresh token lives.
    pub(super) fn lives(&self, refresh_token: &str) -> bool {
        self.refresh_tokens
            .get(refresh_token)
            .is_some_and(|presented| self.grants[presented.grant].alive)
    }

    /// Whether the grant of this refresh token was ended by its user.
    pub(super) fn withdrawn(&self, refresh_token: &str) -> bool {
        self.refresh_tokens
            .get(refresh_token)
            .is_some_and(|presented| self.grants[presented.grant].withdrawn)
    }

    pub(super) fn presentations_max(&self) -> usize {
        self.refresh_tokens
            .values()
            .map(|presented| presented.times)
            .max()
            .unwrap_or(0)
    }
}
