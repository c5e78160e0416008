//! The smallest read that shows whether a feature works with a token, and what its answer says: the token is refused, the
//! user has not allowed it, an administrator or the operator has switched it off, or it is not there for this account.

use http::{HeaderMap, Method, header};
use oauth_manager_actors::{
    domain::feature::FeatureKey,
    ports::oauth::{FailureKind, ProbeRequest, Probed, ProviderFailure},
};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use super::{
    classify::{self, Step, Verdict},
    engine::Engine,
    registration::Registration,
    settings::ProviderKind,
    transport::{Answer, Call},
};

/// A read that proves a feature, if the token has one of these scopes; without scopes it goes with every token.
struct Read {
    feature: &'static str,
    scopes: &'static [&'static str],
    url: &'static str,
    /// What is posted where reading is a POST.
    body: Option<&'static str>,
}

const fn get(feature: &'static str, scopes: &'static [&'static str], url: &'static str) -> Read {
    Read {
        feature,
        scopes,
        url,
        body: None,
    }
}

macro_rules! google {
    ($($scope:literal),*) => { &[$(concat!("https://www.googleapis.com/auth/", $scope)),*] };
}

const GOOGLE: &[Read] = &[
    get(
        "calendar",
        google!(
            "calendar",
            "calendar.readonly",
            "calendar.calendarlist",
            "calendar.calendarlist.readonly"
        ),
        "https://www.googleapis.com/calendar/v3/users/me/calendarList?maxResults=1&fields=items(id)",
    ),
    get(
        "calendar",
        google!("calendar.events", "calendar.events.readonly"),
        "https://www.googleapis.com/calendar/v3/calendars/primary/events?maxResults=1&fields=items(id)",
    ),
    get(
        "drive",
        google!(
            "drive",
            "drive.appdata",
            "drive.file",
            "drive.metadata",
            "drive.metadata.readonly",
            "drive.readonly"
        ),
        "https://www.googleapis.com/drive/v3/about?fields=user",
    ),
    get(
        "gmail",
        &[
            "https://mail.google.com/",
            "https://www.googleapis.com/auth/gmail.modify",
            "https://www.googleapis.com/auth/gmail.compose",
            "https://www.googleapis.com/auth/gmail.readonly",
            "https://www.googleapis.com/auth/gmail.metadata",
        ],
        "https://gmail.googleapis.com/gmail/v1/users/me/profile",
    ),
    get(
        "gmail",
        google!("gmail.labels"),
        "https://gmail.googleapis.com/gmail/v1/users/me/labels",
    ),
    get(
        "tasks",
        google!("tasks", "tasks.readonly"),
        "https://tasks.googleapis.com/tasks/v1/users/@me/lists?maxResults=1",
    ),
];
const YOUTUBE_READS: &[&str] = google!("youtube", "youtube.readonly", "youtube.force-ssl");
const YOUTUBE: &[Read] = &[
    get(
        "playlists",
        YOUTUBE_READS,
        "https://www.googleapis.com/youtube/v3/playlists?part=id&mine=true&maxResults=1",
    ),
    get(
        "history",
        YOUTUBE_READS,
        "https://www.googleapis.com/youtube/v3/videos?part=id&myRating=like&maxResults=1",
    ),
    get(
        "recommendations",
        YOUTUBE_READS,
        "https://www.googleapis.com/youtube/v3/subscriptions?part=id&mine=true&maxResults=1",
    ),
];
const MICROSOFT: &[Read] = &[
    get(
        "calendar",
        &[
            "Calendars.ReadBasic",
            "Calendars.Read",
            "Calendars.ReadWrite",
            "Calendars.Read.Shared",
        ],
        "https://graph.microsoft.com/v1.0/me/calendars?$top=1&$select=id",
    ),
    get(
        "mail",
        &["Mail.ReadBasic", "Mail.Read", "Mail.ReadWrite"],
        "https://graph.microsoft.com/v1.0/me/mailFolders?$top=1&$select=id",
    ),
    get(
        "onedrive",
        &[
            "Files.Read",
            "Files.ReadWrite",
            "Files.Read.All",
            "Files.ReadWrite.All",
        ],
        "https://graph.microsoft.com/v1.0/me/drive/root?$select=id",
    ),
    get(
        "teams",
        &["Team.ReadBasic.All"],
        "https://graph.microsoft.com/v1.0/me/joinedTeams?$select=id",
    ),
    get(
        "teams",
        &["Chat.ReadBasic", "Chat.Read", "Chat.ReadWrite"],
        "https://graph.microsoft.com/v1.0/me/chats?$top=1&$select=id",
    ),
    get(
        "sharepoint",
        &["Sites.Read.All", "Sites.ReadWrite.All"],
        "https://graph.microsoft.com/v1.0/sites/root?$select=id",
    ),
    get(
        "todo",
        &["Tasks.Read", "Tasks.ReadWrite"],
        "https://graph.microsoft.com/v1.0/me/todo/lists?$top=1",
    ),
    get(
        "contacts",
        &["Contacts.Read", "Contacts.ReadWrite"],
        "https://graph.microsoft.com/v1.0/me/contacts?$top=1&$select=id",
    ),
    get(
        "onenote",
        &["Notes.Read", "Notes.ReadWrite"],
        "https://graph.microsoft.com/v1.0/me/onenote/notebooks?$top=1",
    ),
];
const SEARCH: &str = "https://api.notion.com/v1/search";
const fn search(feature: &'static str) -> Read {
    Read {
        body: Some("{\"page_size\":1}"),
        ..get(feature, &[], SEARCH)
    }
}
const NOTION: &[Read] = &[
    search("pages"),
    search("databases"),
    search("content"),
    get("users", &[], "https://api.notion.com/v1/users?page_size=1"),
];

impl Engine {
    pub(super) async fn probe_feature(
        &self,
        registration: &Registration,
        request: ProbeRequest,
    ) -> Result<Probed, ProviderFailure> {
        let deadline = self.deadline();
        let invalid = || registration.failure(Verdict::new(FailureKind::Operator, "api_endpoint_invalid"));
        let (url, body, proves) = match read_of(registration, &request) {
            Some(read) => (
                address(registration, read.url).ok_or_else(invalid)?,
                read.body,
                true,
            ),
            // Nothing small reads this: that the token is accepted is all there is to find out.
            None => match self
                .endpoints(registration, &request.metadata, deadline)
                .await?
                .userinfo
            {
                Some(url) => (url, None, false),
                None => return Ok(Probed::Unproven),
            },
        };
        let mut call = Call::get(url, registration.policy);
        headers(&mut call.headers, registration, &request)
            .map_err(|verdict| registration.failure(verdict))?;
        if let Some(body) = body {
            call.method = Method::POST;
            call.body = Some(Zeroizing::new(body.as_bytes().to_vec()));
            let json = http::HeaderValue::from_static("application/json");
            call.headers.insert(header::CONTENT_TYPE, json);
        }
        let sent = self.transport.send(call, deadline).await;
        let answer =
            sent.map_err(|failure| registration.failure(classify::no_answer(Step::Repeatable, failure)))?;
        match read(&answer) {
            Some(Probed::Works) if !proves => Ok(Probed::Unproven),
            Some(probed) => Ok(probed),
            None => {
                let dialect = registration.dialect.as_ref();
                let verdict = classify::answer(dialect, Step::Repeatable, &answer, self.clock.now());
                // Whatever a resource says, it is no word on the grant; a refusal that is none is a limit of its rate.
                let kind = match answer.status.as_u16() {
                    403 | 429 => FailureKind::AccountThrottled,
                    _ => FailureKind::Passing,
                };
                Err(registration.failure(Verdict { kind, ..verdict }))
            }
        }
    }
}

fn reads(kind: ProviderKind) -> &'static [Read] {
    match kind {
        ProviderKind::Google => GOOGLE,
        ProviderKind::Youtube => YOUTUBE,
        ProviderKind::Microsoft => MICROSOFT,
        ProviderKind::Notion => NOTION,
        ProviderKind::Oidc | ProviderKind::Oauth2 => &[],
    }
}

/// The first read of the feature that the token's scopes open.
fn read_of(registration: &Registration, request: &ProbeRequest) -> Option<&'static Read> {
    let of_feature = |read: &&Read| read.feature == FeatureKey::name(&request.feature);
    let opens = |read: &&Read| {
        let is_granted = |scope: &&&str| request.scopes.iter().any(|granted| granted.as_str() == **scope);
        read.scopes.is_empty() || read.scopes.iter().any(|scope| is_granted(&scope))
    };
    reads(registration.settings.kind)
        .iter()
        .filter(of_feature)
        .find(opens)
}

/// The operator's own address of the provider's interface, where there is one, instead of the documented one.
fn address(registration: &Registration, documented: &str) -> Option<Url> {
    let documented = Url::parse(documented).ok()?;
    let Some(base) = &registration.settings.endpoints.api else {
        return Some(documented);
    };
    let path = &documented[url::Position::BeforePath..];
    let address = format!("{}{path}", base.trim_end_matches('/'));
    registration.policy.accept(&address).ok()
}

fn headers(
    headers: &mut HeaderMap,
    registration: &Registration,
    request: &ProbeRequest,
) -> Result<(), Verdict> {
    let bearer = http::HeaderValue::from_str(&format!("Bearer {}", request.access_token.expose()));
    let mut bearer = bearer.map_err(|_| Verdict::new(FailureKind::Unreadable, "access_token_unfit"))?;
    bearer.set_sensitive(true);
    headers.insert(header::AUTHORIZATION, bearer);
    for (name, value) in registration.dialect.headers() {
        headers.insert(name, value);
    }
    Ok(())
}

/// What an answer says of the feature; `None`: nothing, it is to be asked again.
fn read(answer: &Answer) -> Option<Probed> {
    match answer.status.as_u16() {
        200..=299 => Some(Probed::Works),
        401 => Some(Probed::TokenRejected),
        403 => forbidden(&reasons(answer)),
        404 => Some(Probed::Unavailable),
        _ => None,
    }
}

fn forbidden(reasons: &[String]) -> Option<Probed> {
    let says = |known: &[&str]| reasons.iter().any(|reason| known.contains(&reason.as_str()));
    if says(&[
        "rateLimitExceeded",
        "userRateLimitExceeded",
        "quotaExceeded",
        "dailyLimitExceeded",
    ]) {
        return None;
    }
    Some(if says(&["accessNotConfigured", "SERVICE_DISABLED"]) {
        Probed::NotConfigured
    } else if says(&["domainPolicy"]) {
        Probed::SwitchedOff
    } else if says(&[
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
        "insufficientPermissions",
        "restricted_resource",
    ]) {
        Probed::NotAllowed
    } else {
        Probed::Forbidden
    })
}

/// Every code and reason in the places where providers put them.
fn reasons(answer: &Answer) -> Vec<String> {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let lists = ["/error/errors", "/error/details"]
        .into_iter()
        .filter_map(|list| body.pointer(list)?.as_array());
    let listed = lists.flatten().filter_map(|one| one.get("reason"));
    let direct = ["/error/code", "/error/status", "/code"]
        .into_iter()
        .filter_map(|place| body.pointer(place));
    let texts = listed.chain(direct).filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::{catalogue, settings::ProviderSettings};

    #[test]
    fn a_read_is_of_a_feature_that_exists_and_opens_with_scopes_of_it() {
        for kind in ProviderKind::BUILT_IN {
            let settings = ProviderSettings::new(kind.as_str().parse().unwrap(), kind);
            let entry = catalogue::entry(&settings).unwrap();
            for read in reads(kind) {
                let feature = entry
                    .features
                    .iter()
                    .find(|feature| feature.key.name() == read.feature);
                let feature = feature.unwrap_or_else(|| panic!("{kind:?} has no {}", read.feature));
                let known = |scope: &str| feature.scopes.iter().any(|spec| spec.scope.as_str() == scope);
                assert!(
                    read.scopes.is_empty() || read.scopes.iter().any(|scope| known(scope)),
                    "{}",
                    read.url
                );
                assert_eq!(Url::parse(read.url).unwrap().scheme(), "https");
            }
        }
    }

    #[test]
    fn a_refusal_is_read_for_who_must_act() {
        let of = |reason: &str| forbidden(&[reason.to_owned()]);
        assert_eq!(of("accessNotConfigured"), Some(Probed::NotConfigured));
        assert_eq!(of("SERVICE_DISABLED"), Some(Probed::NotConfigured));
        assert_eq!(of("domainPolicy"), Some(Probed::SwitchedOff));
        assert_eq!(of("ACCESS_TOKEN_SCOPE_INSUFFICIENT"), Some(Probed::NotAllowed));
        assert_eq!(of("userRateLimitExceeded"), None);
        assert_eq!(of("ErrorAccessDenied"), Some(Probed::Forbidden));
        assert_eq!(forbidden(&[]), Some(Probed::Forbidden));
    }
}
