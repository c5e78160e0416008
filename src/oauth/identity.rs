//! Whose tokens are these? Answered by a verified ID token where there is one, else by the provider itself. The identity
//! is issuer and subject; names and addresses are decoration.

use http::StatusCode;
use oauth_manager_actors::{
    domain::{
        account::{ACCOUNT_TEXT_MAX_CHARS, Account},
        storable,
    },
    ports::oauth::{ExchangeRequest, FailureKind},
};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::{
    classify::{self, Step, Verdict},
    declaration::{Identity, Object},
    engine::Engine,
    id_token::{self, Claims, Expected, IdTokenError},
    json::{self, NoIdentifier},
    oauth2,
    registration::{Endpoints, Registration},
    settings::ProviderKind,
    token_answer::Understood,
    youtube,
};

/// An id that is a fraction or a power of ten: several accounts may be written like it.
const ID_NOT_WHOLE: &str = "account_id_not_whole";
/// Answers of YouTube that mean "this account has no channel you could see": its subject is the identity then. Anything
/// else (quota, outage) is not an answer, because the same account would get another identity next time.
const NO_CHANNEL: [&str; 4] = [
    "youtubeSignupRequired",
    "channelNotFound",
    "insufficientPermissions",
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
];

type Identified = Result<(Account, Value), Verdict>;

fn refused(reason: impl ToString) -> Verdict {
    Verdict::new(FailureKind::Refused, reason.to_string())
}

impl Engine {
    /// Finds out the account and what to keep about it.
    pub(super) async fn identify(
        &self,
        registration: &Registration,
        endpoints: &Endpoints,
        request: &ExchangeRequest,
        understood: &Understood,
        deadline: Instant,
    ) -> Identified {
        let (account, metadata) = match registration.dialect.facts().identity {
            Identity::Answer => registration
                .dialect
                .account_from_answer(&understood.rest)
                .map_err(refused)?,
            Identity::Userinfo => (
                self.account_by_userinfo(registration, endpoints, understood, deadline)
                    .await?,
                Value::Null,
            ),
            Identity::IdToken => {
                self.signed_in(registration, endpoints, request, understood, deadline)
                    .await?
            }
            Identity::Channel => {
                let (signed_in, metadata) = self
                    .signed_in(registration, endpoints, request, understood, deadline)
                    .await?;
                let channel = self
                    .channel(registration, endpoints, &signed_in, understood, deadline)
                    .await?;
                (channel.unwrap_or(signed_in), metadata)
            }
        };
        Ok((bounded(account, &metadata)?, storable::metadata(metadata)))
    }

    /// The account of the ID token. An OpenID provider that sends none (a refresh-like answer, a sloppy server) is asked
    /// at its userinfo endpoint; the built-in ones always send one.
    async fn signed_in(
        &self,
        registration: &Registration,
        endpoints: &Endpoints,
        request: &ExchangeRequest,
        understood: &Understood,
        deadline: Instant,
    ) -> Identified {
        let is_oidc = registration.settings.kind == ProviderKind::Oidc;
        let issuer = registration.issuers.first();
        let Some(token) = &understood.id_token else {
            if !is_oidc {
                return Err(refused("id_token_missing"));
            }
            let info = self
                .userinfo(registration, endpoints, understood, deadline)
                .await?;
            let info = info.ok_or_else(|| refused("id_token_missing"))?;
            let id = json::identifier(info.get("sub")).map_err(|fault| match fault {
                NoIdentifier::Missing => refused("userinfo_subject_missing"),
                NoIdentifier::NotWhole => refused(ID_NOT_WHOLE),
            })?;
            return Ok((account(&id, issuer.cloned(), &info), Value::Null));
        };

        let claims = self
            .verified(registration, endpoints, request, understood, token, deadline)
            .await?;
        if !registration.dialect.accepts_tenant(&claims) {
            return Err(refused("tenant_not_accepted"));
        }
        let (id, metadata) = registration.dialect.account_from_claims(&claims);
        // Of several spellings of one issuer the first is kept, so that they stay one identity.
        let issuer = issuer
            .filter(|issuer| !issuer.contains("{tenantid}"))
            .unwrap_or(&claims.iss);
        let name = ["name", "preferred_username"]
            .into_iter()
            .find_map(|name| claims.text(name));
        let mut account = Account {
            id,
            issuer: Some(issuer.clone()),
            name: name.map(str::to_owned),
            email: claims.text("email").map(str::to_owned),
        };
        if is_oidc && account.name.is_none() && account.email.is_none() {
            self.add_userinfo(&mut account, registration, endpoints, understood, deadline)
                .await?;
        }
        Ok((account, metadata))
    }

    async fn verified(
        &self,
        registration: &Registration,
        endpoints: &Endpoints,
        request: &ExchangeRequest,
        understood: &Understood,
        token: &str,
        deadline: Instant,
    ) -> Result<Claims, Verdict> {
        let url = endpoints.jwks.as_ref().ok_or_else(|| refused("jwks_unknown"))?;
        let expected = Expected {
            client_id: registration.client_id(),
            issuers: &registration.issuers,
            algorithms: &endpoints.algorithms,
            nonce: &request.nonce,
            nonce_rule: registration.settings.token_response.nonce,
            access_token: understood.answer.access_token.expose(),
            now: self.clock.now(),
        };
        let keys = self.keys(registration, url, deadline).await?;
        let verified = match id_token::verify(token, &keys, &expected) {
            // Keys rotate: one look at the newest set, and that is all.
            Err(IdTokenError::KeyUnknown) => {
                match self.fresh_keys(registration, url, &keys, deadline).await {
                    Some(keys) => id_token::verify(token, &*keys?, &expected),
                    None => Err(IdTokenError::KeyUnknown),
                }
            }
            verified => verified,
        };
        verified.map_err(refused)
    }

    /// Fills in name and address. They are not worth failing for; a subject that differs is (OpenID Connect Core 5.3.2).
    async fn add_userinfo(
        &self,
        account: &mut Account,
        registration: &Registration,
        endpoints: &Endpoints,
        understood: &Understood,
        deadline: Instant,
    ) -> Result<(), Verdict> {
        let Ok(Some(info)) = self.userinfo(registration, endpoints, understood, deadline).await else {
            return Ok(());
        };
        if json::identifier(info.get("sub")).as_ref() != Ok(&account.id) {
            return Err(refused("userinfo_subject_mismatch"));
        }
        account.name = text(&info, "name").map(str::to_owned);
        account.email = text(&info, "email").map(str::to_owned);
        Ok(())
    }

    async fn account_by_userinfo(
        &self,
        registration: &Registration,
        endpoints: &Endpoints,
        understood: &Understood,
        deadline: Instant,
    ) -> Result<Account, Verdict> {
        let issuer = registration.issuers.first().cloned();
        let Some(info) = self
            .userinfo(registration, endpoints, understood, deadline)
            .await?
        else {
            return Ok(account(oauth2::ONLY_ACCOUNT, issuer, &Object::new()));
        };
        let pointer = registration.settings.account_id_pointer.as_deref();
        let found = oauth2::account(&info, pointer).map_err(|fault| match fault {
            NoIdentifier::Missing => refused("account_id_missing"),
            NoIdentifier::NotWhole => refused(ID_NOT_WHOLE),
        })?;
        Ok(Account { issuer, ..found })
    }

    async fn userinfo(
        &self,
        registration: &Registration,
        endpoints: &Endpoints,
        understood: &Understood,
        deadline: Instant,
    ) -> Result<Option<Object>, Verdict> {
        match &endpoints.userinfo {
            Some(url) => {
                let token = Some(&understood.answer.access_token);
                self.read_object(registration, url.clone(), token, deadline)
                    .await
                    .map(Some)
            }
            None => Ok(None),
        }
    }

    /// The channel the token is bound to; `None`: there is none.
    async fn channel(
        &self,
        registration: &Registration,
        endpoints: &Endpoints,
        signed_in: &Account,
        understood: &Understood,
        deadline: Instant,
    ) -> Result<Option<Account>, Verdict> {
        let Some(mut url) = endpoints.userinfo.clone() else {
            return Ok(None);
        };
        ask_for_own_channel(&mut url);
        let token = Some(&understood.answer.access_token);
        let answer = self.get(registration, url, token, deadline).await?;
        let body: Value = serde_json::from_slice(json::without_mark(&answer.body)).unwrap_or_default();
        if answer.status == StatusCode::OK && answer.cut.is_none() {
            let found = body.as_object().ok_or_else(|| refused("channel_unreadable"))?;
            return Ok(youtube::channel(found, signed_in));
        }
        let reasons = ["/error/errors/0/reason", "/error/details/0/reason"];
        let says_none = reasons
            .into_iter()
            .filter_map(|pointer| body.pointer(pointer).and_then(Value::as_str))
            .any(|reason| NO_CHANNEL.contains(&reason));
        if says_none {
            return Ok(None);
        }
        Err(classify::answer(
            registration.dialect.as_ref(),
            Step::Repeatable,
            &answer,
            self.clock.now(),
        ))
    }
}

fn ask_for_own_channel(url: &mut Url) {
    url.query_pairs_mut()
        .append_pair("part", "id,snippet")
        .append_pair("mine", "true");
}

fn account(id: &str, issuer: Option<String>, info: &Object) -> Account {
    Account {
        id: id.to_owned(),
        issuer,
        name: text(info, "name").map(str::to_owned),
        email: text(info, "email").map(str::to_owned),
    }
}

/// Ids are refused when they are no ids; names and addresses are cut to what is shown.
fn bounded(account: Account, metadata: &Value) -> Result<Account, Verdict> {
    let is_issuer = |issuer: &str| {
        issuer.chars().count() <= storable::ISSUER_CHARS_MAX && !issuer.chars().any(char::is_control)
    };
    // The person at the issuer, where the account is more than that: compared later, so it is never changed.
    let is_known = storable::is_account_id(&account.id)
        && storable::is_account_id(account.subject(metadata))
        && account.issuer.as_deref().is_none_or(is_issuer);
    if !is_known {
        return Err(refused("account_id_invalid"));
    }
    let shown = |text: String| storable::shown(&text, ACCOUNT_TEXT_MAX_CHARS);
    Ok(Account {
        name: account.name.map(shown),
        email: account.email.map(shown),
        ..account
    })
}

fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}
