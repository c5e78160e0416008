//! The cheap resource requests that show whether a token works and what it may do.

use serde_json::{Value, json};

use super::answer::Answer;
use super::google_errors;
use super::microsoft_errors::graph_error;
use super::notion;
use super::oidc;
use super::provider::Provider;
use super::world::{Call, World};

/// A resource and the scopes of which any one opens it. Without scopes any living token does.
struct Resource {
    method: &'static str,
    /// Below the provider's prefix; `*` stands for one segment.
    path: &'static str,
    scopes: &'static [&'static str],
}

const fn get(path: &'static str, scopes: &'static [&'static str]) -> Resource {
    Resource {
        method: "GET",
        path,
        scopes,
    }
}

const GOOGLE: &[Resource] = &[
    get(
        "calendar/v3/users/me/calendarList",
        &[
            "calendar",
            "calendar.readonly",
            "calendar.calendarlist",
            "calendar.calendarlist.readonly",
        ],
    ),
    get(
        "calendar/v3/calendars/*/events",
        &[
            "calendar",
            "calendar.readonly",
            "calendar.events",
            "calendar.events.readonly",
        ],
    ),
    get(
        "drive/v3/about",
        &[
            "drive",
            "drive.appdata",
            "drive.file",
            "drive.metadata",
            "drive.metadata.readonly",
            "drive.readonly",
        ],
    ),
    get(
        "gmail/v1/users/me/profile",
        &[
            "https://mail.google.com/",
            "gmail.modify",
            "gmail.compose",
            "gmail.readonly",
            "gmail.metadata",
        ],
    ),
    get(
        "gmail/v1/users/me/labels",
        &[
            "https://mail.google.com/",
            "gmail.modify",
            "gmail.readonly",
            "gmail.metadata",
            "gmail.labels",
        ],
    ),
    get("tasks/v1/users/@me/lists", &["tasks", "tasks.readonly"]),
];

const YOUTUBE_READ: &[&str] = &["youtube", "youtube.readonly", "youtube.force-ssl"];

const YOUTUBE: &[Resource] = &[
    get("youtube/v3/channels", YOUTUBE_READ),
    get("youtube/v3/playlists", YOUTUBE_READ),
    get("youtube/v3/videos", YOUTUBE_READ),
    get("youtube/v3/activities", YOUTUBE_READ),
    get("youtube/v3/subscriptions", YOUTUBE_READ),
];

const MICROSOFT: &[Resource] = &[
    get(
        "v1.0/me",
        &[
            "User.Read",
            "User.ReadWrite",
            "User.Read.All",
            "User.ReadWrite.All",
            "Directory.Read.All",
        ],
    ),
    get(
        "v1.0/me/calendars",
        &[
            "Calendars.ReadBasic",
            "Calendars.Read",
            "Calendars.ReadWrite",
            "Calendars.Read.Shared",
            "Calendars.ReadWrite.Shared",
        ],
    ),
    get(
        "v1.0/me/mailFolders",
        &["Mail.ReadBasic", "Mail.Read", "Mail.ReadWrite"],
    ),
    get(
        "v1.0/me/messages",
        &["Mail.ReadBasic", "Mail.Read", "Mail.ReadWrite"],
    ),
    get(
        "v1.0/me/drive/root",
        &[
            "Files.Read",
            "Files.ReadWrite",
            "Files.Read.All",
            "Files.ReadWrite.All",
            "Sites.Read.All",
            "Sites.ReadWrite.All",
        ],
    ),
    get(
        "v1.0/me/joinedTeams",
        &[
            "Team.ReadBasic.All",
            "TeamSettings.Read.All",
            "TeamSettings.ReadWrite.All",
            "User.Read.All",
            "Directory.Read.All",
            "Directory.ReadWrite.All",
        ],
    ),
    get(
        "v1.0/me/chats",
        &["Chat.ReadBasic", "Chat.Read", "Chat.ReadWrite"],
    ),
    get("v1.0/sites/root", &["Sites.Read.All", "Sites.ReadWrite.All"]),
    get(
        "v1.0/me/mailboxSettings",
        &["MailboxSettings.Read", "MailboxSettings.ReadWrite"],
    ),
    get("v1.0/me/todo/lists", &["Tasks.Read", "Tasks.ReadWrite"]),
    get("v1.0/me/contacts", &["Contacts.Read", "Contacts.ReadWrite"]),
    get(
        "v1.0/me/onenote/notebooks",
        &[
            "Notes.Create",
            "Notes.Read",
            "Notes.ReadWrite",
            "Notes.Read.All",
            "Notes.ReadWrite.All",
        ],
    ),
    get("v1.0/me/presence", &["Presence.Read", "Presence.Read.All"]),
];

const NOTION: &[Resource] = &[
    get("v1/users/me", &[]),
    get("v1/users", &[]),
    get("v1/comments", &[]),
    get("v1/pages/*", &[]),
    Resource {
        method: "POST",
        path: "v1/search",
        scopes: &[],
    },
];

const OIDC: &[Resource] = &[get("api/notes", &["notes.read", "notes.write"])];

/// `rest` is the path below the provider's prefix, without a slash in front.
pub fn serves(provider: Provider, rest: &str) -> bool {
    resources(provider)
        .iter()
        .any(|resource| matches(resource.path, rest))
}

pub fn probe(world: &World, call: &Call<'_>, rest: &str) -> Answer {
    if call.provider == Provider::Notion
        && let Err(answer) = notion::check_api_call(call)
    {
        return answer;
    }
    let live = call
        .request
        .bearer_token()
        .and_then(|token| world.ledger.live_access_token(token, call.now));
    let Some((token, grant)) = live.filter(|(_, grant)| grant.provider.is_served_by(call.provider)) else {
        return refusal(call.provider, 401).because("no live access token");
    };
    let method = call.request.method.as_str();
    let found = resources(call.provider)
        .iter()
        .find(|one| one.method == method && matches(one.path, rest));
    let Some(resource) = found else {
        return refusal(call.provider, 404);
    };
    let opens = |wanted: &&str| {
        token
            .scopes
            .iter()
            .any(|scope| means(call.provider, scope, wanted))
    };
    if !resource.scopes.is_empty() && !resource.scopes.iter().any(opens) {
        return refusal(call.provider, 403).because("the token lacks the scope");
    }
    let account = &grant.account;
    if rest == "v1/users/me" {
        return notion::me(world, call);
    }
    if rest == "youtube/v3/channels" {
        return Answer::json(200, channels(account.channel_id.as_deref(), &account.name));
    }
    if call.provider == Provider::Microsoft && account.personal && rest.starts_with("v1.0/sites") {
        return graph_error("itemNotFound").because("personal accounts have no sites");
    }
    let body = match (call.provider, rest) {
        (Provider::Google, "gmail/v1/users/me/profile") => {
            json!({ "emailAddress": account.email, "messagesTotal": 3, "threadsTotal": 2, "historyId": "1" })
        }
        (Provider::Google, "drive/v3/about") => {
            json!({ "user": { "displayName": account.name, "emailAddress": account.email } })
        }
        (Provider::Google, "gmail/v1/users/me/labels") => {
            json!({ "labels": [{ "id": "INBOX", "name": "INBOX" }] })
        }
        (Provider::Google | Provider::YouTube, _) => json!({ "items": [] }),
        (Provider::Microsoft, "v1.0/me") => json!({ "id": account.subject, "displayName": account.name }),
        (Provider::Microsoft, _) => json!({ "value": [], "id": "root" }),
        (Provider::Notion, _) => {
            json!({ "object": "list", "results": [], "next_cursor": null, "has_more": false })
        }
        (Provider::Oidc, _) => json!({ "notes": [] }),
    };
    Answer::json(200, body)
}

fn channels(channel_id: Option<&str>, name: &str) -> Value {
    let items: Vec<Value> = channel_id
        .into_iter()
        .map(|id| json!({ "kind": "youtube#channel", "id": id, "snippet": { "title": format!("{name}'s channel") } }))
        .collect();
    json!({
        "kind": "youtube#channelListResponse",
        "pageInfo": { "totalResults": items.len(), "resultsPerPage": 5 },
        "items": items,
    })
}

fn resources(provider: Provider) -> &'static [Resource] {
    match provider {
        Provider::Google => GOOGLE,
        Provider::YouTube => YOUTUBE,
        Provider::Microsoft => MICROSOFT,
        Provider::Notion => NOTION,
        Provider::Oidc => OIDC,
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some("*"), Some(segment)) if !segment.is_empty() => {}
            (Some(expected), Some(segment)) if expected == segment => {}
            _ => return false,
        }
    }
}

/// Is the granted `scope` the one that a resource calls `wanted`?
fn means(provider: Provider, scope: &str, wanted: &str) -> bool {
    match provider {
        Provider::Google | Provider::YouTube => {
            scope == wanted || scope.strip_prefix("https://www.googleapis.com/auth/") == Some(wanted)
        }
        Provider::Microsoft => scope.eq_ignore_ascii_case(wanted),
        Provider::Notion | Provider::Oidc => scope == wanted,
    }
}

fn refusal(provider: Provider, status: u16) -> Answer {
    match provider {
        Provider::Google | Provider::YouTube => google_errors::api_error(status),
        Provider::Microsoft => graph_error(match status {
            401 => "InvalidAuthenticationToken",
            403 => "ErrorAccessDenied",
            _ => "itemNotFound",
        }),
        Provider::Notion => notion::error(match status {
            401 => "unauthorized",
            403 => "restricted_resource",
            _ => "object_not_found",
        }),
        Provider::Oidc => oidc::api_error(status),
    }
}
