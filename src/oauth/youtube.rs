//! YouTube: Google's authorization server with a client and an identity of its own.
//!
//! At consent the user picks a channel and the token is bound to it; the subject alone does not tell the channels of one
//! account apart. `include_granted_scopes=false` keeps this grant from swallowing what was granted to the Google provider
//! (within one Cloud project, revoking one still revokes both: use two projects to keep them apart).

use std::borrow::Cow;

use jsonwebtoken::Algorithm;
use oauth_manager_actors::{
    domain::{account::Account, provider::RefreshClass, scope::Scope},
    ports::oauth::{AuthorizationUrlRequest, FailureKind},
};
use serde_json::Value;

use super::{
    classify::ErrorAnswer,
    declaration::{BodyFormat, DAY, Dialect, Facts, Identity, Object, Refined, RevokeRule},
    google,
    id_token::Claims,
    settings::ClientAuth,
};

const FACTS: Facts = Facts {
    issuers: google::ISSUERS,
    authorization: "https://accounts.google.com/o/oauth2/v2/auth",
    token: "https://oauth2.googleapis.com/token",
    revocation: "https://oauth2.googleapis.com/revoke",
    userinfo: "https://www.googleapis.com/youtube/v3/channels",
    jwks: "https://www.googleapis.com/oauth2/v3/certs",
    client_auth: Some(ClientAuth::Post),
    body: BodyFormat::Form,
    asks_for_scopes: true,
    reports_scopes: true,
    // It is told not to include what was granted before, see above.
    incremental: false,
    identity: Identity::Channel,
    revoke: RevokeRule::WholeGrant,
    refresh_class: RefreshClass::Safe,
    // As at Google.
    keep_alive: Some(DAY.saturating_mul(90)),
    max_concurrency: 32,
    narrows: false,
    algorithms: &[Algorithm::RS256],
    callback_issuer: true,
};

/// The dialect of YouTube.
pub(super) struct Youtube;

impl Dialect for Youtube {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn authorization_parameters(
        &self,
        request: &AuthorizationUrlRequest,
    ) -> Vec<(&'static str, Cow<'static, str>)> {
        google::authorization_parameters(request, false)
    }

    fn canonical_scope(&self, raw: &str) -> Option<Scope> {
        Some(google::canonical_scope(raw))
    }

    /// The subject is kept: the account's id is the channel's, and a refresh answer names the subject.
    fn account_from_claims(&self, claims: &Claims) -> (String, Value) {
        (claims.sub.clone(), serde_json::json!({ "sub": claims.sub }))
    }

    fn refine(&self, error: &ErrorAnswer) -> Option<Refined> {
        match error.word_of(&["youtubesignuprequired", "quotaexceeded"]) {
            Some("youtubesignuprequired") => Some(Refined::new(FailureKind::Interaction, "no_channel")),
            // Of the whole project, until midnight in California.
            Some(word) => Some(Refined::new(FailureKind::Passing, word)),
            None => google::refine(error),
        }
    }
}

/// The channel in a `channels` answer (`part=id,snippet&mine=true`), in place of the subject; `None`: there is none.
pub(super) fn channel(answer: &Object, signed_in: &Account) -> Option<Account> {
    let channel = answer.get("items")?.get(0)?;
    let id = channel.get("id")?.as_str()?;
    let title = channel.pointer("/snippet/title").and_then(Value::as_str);
    Some(Account {
        id: id.to_owned(),
        issuer: signed_in.issuer.clone(),
        name: title.map(str::to_owned).or_else(|| signed_in.name.clone()),
        email: signed_in.email.clone(),
    })
}
