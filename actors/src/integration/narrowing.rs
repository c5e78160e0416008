//! Narrower tokens, where a provider gives one to a refresh that names fewer scopes: for services whose policy does not
//! reach everything the account's own token carries.
//!
//! Each set of scopes has a token of its own. They live in memory only, beside the account's token and no longer than it;
//! the refresh token is presented for them without a claim, which the provider's class must allow
//! ([`RefreshClass::Safe`]), and what else the answer brings is dropped. Who may have the account's own token never gets
//! here.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ractor::ActorRef;
use tokio::time::Instant;
use tracing::Instrument as _;

use super::{
    Integration, IntegrationState, answer,
    lifecycle::{Refusal, WAITERS_MAX},
    message::{IntegrationMsg, Need, Recipient, TokenAsk},
    opened::{Opened, span_of},
    refresh::open_error,
    row::{Token, usual_min_ttl},
};
use crate::{
    domain::{
        Timestamp,
        error::{ServiceError, ServiceResult},
        integration::StoredIntegration,
        provider::{Provider, RefreshClass},
        scope::ScopeSet,
        secret::AccessToken,
        token::{AccessGrant, TokenAnswer, Written},
    },
    ports::oauth::RefreshRequest,
    provider::{backlog::Wish, breaker::OpenCause, egress::Held},
    shared::{Shared, after, until},
};

/// More different policies than an operator has for one account's services; beyond it the sets are forgotten and fetched anew.
const SETS_MAX: usize = 16;
/// A token that was fetched this lately and is still too short for its caller will not be longer the next time.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// How long a set is left alone that could not be had.
const PAUSE: Duration = Duration::from_secs(30);
/// The same where the provider gave more than was asked for: it will do so again.
const WIDE_PAUSE: Duration = Duration::from_mins(10);

/// The sets of scopes that were asked for, of one generation of the account's token.
#[derive(Debug, Default)]
pub(super) struct Narrowed {
    generation: i64,
    sets: HashMap<ScopeSet, Narrower>,
}

#[derive(Debug)]
enum Narrower {
    /// Being fetched; who waits for it.
    #[expect(clippy::vec_box, reason = "they come boxed and go on boxed")]
    Fetching(Vec<Box<TokenAsk>>),
    /// At hand.
    Kept { grant: Box<AccessGrant>, token: Token },
    /// Could not be had, and is not tried again before.
    Refused { error: ServiceError, until: Timestamp },
}

/// What is left of the account's scopes for whoever's policy does not reach all of them, if the provider would give that and
/// it is enough.
fn narrower(
    provider: &Provider,
    stored: &StoredIntegration,
    need: &Need<'_>,
    now: Timestamp,
) -> Option<ServiceResult<ScopeSet>> {
    let Recipient::Client(client) = need.recipient else {
        return None;
    };
    if !provider.narrows || provider.refresh_class != RefreshClass::Safe {
        return None;
    }
    let beyond = client.policy.beyond(provider, &stored.scopes);
    if beyond.is_empty() {
        return None;
    }
    let scopes = stored.scopes.difference(&beyond);
    let narrowed = StoredIntegration {
        scopes: scopes.clone(),
        ..stored.clone()
    };
    Some(answer::check(provider, &narrowed, need, now).map(|()| scopes))
}

impl Narrowed {
    /// Whether one of the tokens at hand is so.
    pub(super) fn any(&self, is_so: impl Fn(&AccessToken) -> bool) -> bool {
        let mut kept = self.sets.values();
        kept.any(|set| matches!(set, Narrower::Kept { grant, .. } if is_so(&grant.access_token)))
    }
}

impl Integration {
    /// Whether this recipient may have a token of this account, its own or a narrower one.
    pub(super) fn reaches(&self, state: &IntegrationState, recipient: &Recipient) -> ServiceResult<()> {
        let (stored, now, scopes) = (&state.opened.stored, self.shared.now(), ScopeSet::default());
        let need = Need {
            recipient,
            feature: None,
            scopes: &scopes,
        };
        match answer::check(&self.provider, stored, &need, now) {
            Err(error @ ServiceError::Forbidden { .. }) => {
                let narrower = narrower(&self.provider, stored, &need, now);
                narrower.unwrap_or(Err(error)).map(|_| ())
            }
            reaches => reaches,
        }
    }

    /// How this question is answered: with the account's own token (`None`), or with one narrowed to these scopes.
    pub(super) fn suits(&self, state: &IntegrationState, ask: &TokenAsk) -> ServiceResult<Option<ScopeSet>> {
        let (stored, need, now) = (&state.opened.stored, ask.need(), self.shared.now());
        match answer::check(&self.provider, stored, &need, now) {
            Err(error @ ServiceError::Forbidden { .. }) => {
                let narrower = narrower(&self.provider, stored, &need, now);
                narrower.unwrap_or(Err(error)).map(Some)
            }
            suits => suits.map(|()| None),
        }
    }

    /// Hands a narrower token out, fetched first if there is none.
    pub(super) fn hand_out_narrower(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        scopes: ScopeSet,
        ask: Box<TokenAsk>,
    ) {
        let now = self.shared.now();
        let generation = state.lifecycle.row.token.map_or(0, |token| token.generation);
        state.narrowed.belong_to(generation);
        match state.narrowed.sets.get_mut(&scopes) {
            Some(Narrower::Kept { grant, token }) => {
                let min_ttl = ask.min_ttl.unwrap_or_else(|| usual_min_ttl(Some(*token)));
                if token.usable_for(now, min_ttl) {
                    let grant = AccessGrant::clone(grant);
                    answer::hand_out_grant(&self.shared, &state.opened.stored, grant, *ask);
                    return;
                }
                if until(token.issued_at, now) < FRESH_FOR {
                    let longest = token.remaining(now).unwrap_or_default();
                    let error = answer::refusal(&state.opened.stored.id, Refusal::TooShortLived { longest });
                    self.pass_on(state, ask, error);
                    return;
                }
            }
            Some(Narrower::Refused { error, until }) if *until > now => {
                let error = error.clone();
                self.pass_on(state, ask, error);
                return;
            }
            Some(Narrower::Fetching(waiting)) => {
                if waiting.len() < WAITERS_MAX {
                    waiting.push(ask);
                } else {
                    let error = answer::refusal(&state.opened.stored.id, Refusal::Crowded);
                    self.pass_on(state, ask, error);
                }
                return;
            }
            Some(Narrower::Refused { .. }) | None => {}
        }
        state
            .narrowed
            .sets
            .insert(scopes.clone(), Narrower::Fetching(vec![ask]));
        self.fetch_narrower(myself, state, generation, scopes);
    }

    fn fetch_narrower(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        generation: i64,
        scopes: ScopeSet,
    ) {
        let (shared, provider) = (Arc::clone(&self.shared), Arc::clone(&self.provider));
        let (opened, myself) = (Arc::clone(&state.opened), myself.clone());
        let failed = Self::fails_with(&myself);
        state.changes_under_way += 1;
        self.show_busy(state);
        let span = span_of(&state.opened.stored);
        let effect = async move {
            let result = fetch(&shared, &provider, &opened, &scopes).await;
            // If the actor is gone, so are those who waited: their ports are dropped, and they ask once more.
            let _ = myself.cast(IntegrationMsg::Narrowed(generation, scopes, result));
        };
        self.shared.effects.spawn_or(failed, effect.instrument(span));
    }

    /// It is here, or it will not come. Whoever waited is looked at anew: the account may have changed meanwhile.
    pub(super) fn narrowed(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        generation: i64,
        scopes: ScopeSet,
        result: ServiceResult<(AccessGrant, Token)>,
    ) {
        state.changes_under_way = state.changes_under_way.saturating_sub(1);
        let outcome = match result {
            Ok((grant, token)) => Narrower::Kept {
                grant: Box::new(grant),
                token,
            },
            Err(error) => {
                let is_wide = matches!(error, ServiceError::Forbidden { .. });
                let pause = if is_wide { WIDE_PAUSE } else { PAUSE };
                let until = after(self.shared.now(), error.retry_after().unwrap_or(pause));
                Narrower::Refused { error, until }
            }
        };
        let waiting = match state.narrowed.sets.remove(&scopes) {
            Some(Narrower::Fetching(waiting)) => waiting,
            Some(Narrower::Kept { .. } | Narrower::Refused { .. }) | None => Vec::new(),
        };
        if state.narrowed.generation == generation {
            state.narrowed.sets.insert(scopes, outcome);
        }
        self.show_busy(state);
        for ask in waiting {
            self.ask(myself, state, ask);
        }
    }
}

impl Narrowed {
    /// Forgets what belongs to an earlier token of the account, but never who waits.
    fn belong_to(&mut self, generation: i64) {
        let is_crowded = self.sets.len() >= SETS_MAX;
        if self.generation != generation || is_crowded {
            self.sets
                .retain(|_, narrower| matches!(narrower, Narrower::Fetching(_)));
            self.generation = generation;
        }
    }
}

async fn fetch(
    shared: &Shared,
    provider: &Provider,
    opened: &Opened,
    scopes: &ScopeSet,
) -> ServiceResult<(AccessGrant, Token)> {
    let (stored, id) = (&opened.stored, opened.stored.id.uuid);
    let refresh_token = opened.refresh_token(&*shared.ports.vault);
    let refresh_token = refresh_token.map_err(|error| open_error(&error))?;
    let Some(refresh_token) = refresh_token else {
        return Err(too_wide(provider));
    };
    let egress = shared.egress(&provider.key).ok_or(ServiceError::Internal)?;
    let wish = Wish::waited_for(Some(id), Instant::now() + shared.settings.lease / 2);
    let permit = egress.admit(wish).await.map_err(held)?;
    let request = RefreshRequest {
        refresh_token,
        scopes: scopes.clone(),
        metadata: stored.metadata.clone(),
        account: stored.account.clone(),
    };
    let issued_at = shared.now();
    let result = shared.ports.oauth.refresh(&provider.key, request).await;
    let answer = permit.report(Some(id), result).map_err(|failure| {
        // Nothing is concluded from it about the account: its own refresh will find out.
        ServiceError::ProviderUnavailable {
            reason: failure.reason,
            retry_after: failure.retry_after.unwrap_or(PAUSE),
        }
    })?;
    let TokenAnswer {
        access_token,
        token_type,
        expires_at,
        scopes: given,
        ..
    } = answer;
    let given = given.unwrap_or_else(|| scopes.clone());
    if !given.is_subset(scopes) {
        // It gives what was granted, whatever is asked for.
        return Err(too_wide(provider));
    }
    let token = Token {
        generation: stored.grant.as_ref().map_or(0, |grant| grant.generation),
        issued_at,
        expires_at,
    };
    let grant = AccessGrant {
        access_token,
        token_type,
        expires_at,
        scopes: given,
        integration_id: stored.id.clone(),
        written: Written::default(),
    };
    Ok((grant, token))
}

fn held(held: Held) -> ServiceError {
    let (OpenCause::Operator(reason) | OpenCause::Outage(reason)) = held.cause;
    ServiceError::ProviderUnavailable {
        reason,
        retry_after: held.retry_after,
    }
}

fn too_wide(provider: &Provider) -> ServiceError {
    ServiceError::Forbidden {
        detail: format!(
            "this account's token carries scopes beyond the client's policy, and {} gave no narrower one: an operator may \
             allow the client what they belong to, or {}:* for whatever a token carries",
            provider.display_name, provider.key
        ),
    }
}
