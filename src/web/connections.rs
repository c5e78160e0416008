//! *Your connections*: what is connected, how it stands, what else could be.

use std::sync::Arc;

use maud::{Markup, html};
use oauth_manager_actors::domain::{
    integration::{IntegrationView, Status},
    provider::Provider,
    session::Session,
};

use super::{
    layout,
    words::{self, Told, account_email, account_name},
};

/// A user's visit: who, and the token of their forms.
pub(crate) struct Visit<'a> {
    /// The session.
    pub(crate) session: &'a Session,
    /// For every form.
    pub(crate) csrf: String,
}

/// What just happened, and led here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It worked.
    Connected,
    /// The user said no.
    Denied,
    /// It did not work; why, in our words.
    Failed(&'static str),
    /// The form was sent with no box ticked.
    NothingChosen,
    /// A feature is on.
    SwitchedOn,
    /// Of two accounts the one that was there stays.
    Kept,
}

impl Notice {
    /// By the `status` and `error` of the address; only words of ours are ever shown.
    pub(crate) fn of(status: &str, error: &str) -> Option<Self> {
        match status {
            Self::CONNECTED => Some(Self::Connected),
            "denied" => Some(Self::Denied),
            "failed" | "confirmation_required" => Some(Self::Failed(words::failed(error))),
            Self::NOTHING_CHOSEN => Some(Self::NothingChosen),
            Self::SWITCHED_ON => Some(Self::SwitchedOn),
            Self::KEPT => Some(Self::Kept),
            _ => None,
        }
    }

    /// The `status` of a flow that connected something.
    pub(crate) const CONNECTED: &str = "connected";
    /// The `status` of a feature that is on now.
    pub(crate) const SWITCHED_ON: &str = "switched_on";
    /// The `status` of a choice for the account that was there.
    pub(crate) const KEPT: &str = "kept";
    /// The `status` of a form that chose nothing.
    pub(crate) const NOTHING_CHOSEN: &str = "nothing_chosen";

    fn show(self) -> Markup {
        let (what, then) = match self {
            Self::Connected => ("Done: your account is connected.", ""),
            Self::Denied => ("Nothing was connected, because you did not allow it.", ""),
            Self::Failed(why) => ("Connecting did not work, and nothing was changed.", why),
            Self::SwitchedOn => ("Done: it is switched on.", ""),
            Self::Kept => ("Nothing was changed: the account you had stays connected.", ""),
            Self::NothingChosen => (
                "Nothing was ticked, so nothing was connected.",
                "Tick what the account may be used for, then connect it.",
            ),
        };
        let class = if matches!(self, Self::Failed(_) | Self::NothingChosen) {
            "card notice attention"
        } else {
            "card notice"
        };
        html! { p class=(class) role="status" { strong { (what) } " " (then) } }
    }
}

/// Everything the page shows.
pub(crate) struct ConnectionsPage<'a> {
    /// Whose.
    pub(crate) visit: Visit<'a>,
    /// What could be connected.
    pub(crate) providers: &'a [Arc<Provider>],
    /// What is.
    pub(crate) accounts: &'a [IntegrationView],
    /// Where the accounts go on that are too many for one page.
    pub(crate) next: Option<&'a str>,
    /// What just happened.
    pub(crate) notice: Option<Notice>,
    /// What is asked of them first.
    pub(crate) question: Option<Markup>,
}

/// An account with what is told of it.
struct Shown<'a> {
    view: &'a IntegrationView,
    provider: Option<&'a Arc<Provider>>,
    provider_name: &'a str,
    told: Told,
}

impl Shown<'_> {
    fn can_reconnect(&self) -> bool {
        self.told.reconnect && self.provider.is_some_and(|provider| provider.configured)
    }
}

impl ConnectionsPage<'_> {
    /// The page.
    pub(crate) fn render(&self) -> Markup {
        let accounts = self.shown();
        let waiting = accounts
            .iter()
            .filter(|account| account.view.status == Status::ReauthRequired)
            .count();
        layout::page(
            Some(self.visit.session),
            "Your connections",
            html! {
                h1 { "Your connections" }
                p.soft { "The accounts you have connected, and what they may be used for." }
                @if let Some(question) = &self.question { (question) }
                @else if let Some(notice) = self.notice { (notice.show()) }
                @if waiting > 0 {
                    p.card.notice.attention {
                        @if waiting == 1 { "One account needs you: connect it again to go on using it." }
                        @else { (waiting) " accounts need you: connect them again to go on using them." }
                    }
                }
                section aria-labelledby="connected" {
                    h2 #connected { "Connected accounts" }
                    @if accounts.is_empty() { p.card.soft { "You have not connected any account yet." } }
                    @for account in &accounts { (self.account(account)) }
                    @if let Some(next) = self.next { (more_accounts(next)) }
                }
                (self.offers(|provider| accounts.iter().any(|account| account.view.provider == *provider)))
                (self.footer())
            },
        )
    }

    /// The accounts that still stand; those that need somebody come first.
    fn shown(&self) -> Vec<Shown<'_>> {
        let standing = self.accounts.iter().filter(|view| view.status != Status::Revoked);
        let mut shown: Vec<_> = standing
            .map(|view| {
                let provider = self
                    .providers
                    .iter()
                    .find(|provider| provider.key == view.provider);
                let provider_name =
                    provider.map_or(view.provider.as_str(), |provider| provider.display_name.as_str());
                Shown {
                    view,
                    provider,
                    provider_name,
                    told: words::account(view, provider_name),
                }
            })
            .collect();
        shown.sort_by_key(|account| account.told.rank());
        shown
    }

    fn account(&self, account: &Shown<'_>) -> Markup {
        let Shown {
            view,
            provider,
            provider_name,
            told,
        } = account;
        html! {
            article.card aria-labelledby=(view.id) {
                div.head {
                    div {
                        h3 id=(view.id) { (provider_name) ": " bdi { (account_name(view)) } }
                        @if let Some(email) = account_email(view) {
                            p.soft { bdi { (email) } }
                        }
                    }
                    span.state.(told.class) { (told.state) }
                }
                p { (told.meaning) }
                (self.features(*provider, view))
                p.soft.small {
                    "Connected since "
                    time datetime=(view.created_at) { (view.created_at.strftime("%-d %B %Y")) }
                }
                @if let Some(provider) = provider { (self.more_features(provider, account.view)) }
                div.row {
                    @if account.can_reconnect() { (self.reconnect(account)) }
                    a.button.quiet href={ "/connections/disconnect?integration_id=" (view.id) } aria-describedby=(view.id) {
                        "Disconnect"
                    }
                }
            }
        }
    }

    fn reconnect(&self, account: &Shown<'_>) -> Markup {
        let view = account.view;
        // What the catalogue no longer knows cannot be asked for, and must not keep the rest from being connected.
        let features = view.features.iter().filter(|state| {
            account
                .provider
                .is_some_and(|provider| provider.feature(&state.key).is_some())
        });
        html! {
            form method="post" action="/connections/connect" {
                (self.connect_fields(&view.provider, Some(&view.id)))
                @for state in features { input type="hidden" name="feature" value=(state.key); }
                button type="submit" aria-describedby=(view.id) { "Connect again" }
            }
        }
    }

    fn footer(&self) -> Markup {
        html! {
            footer {
                div.row {
                    a.button.quiet href=(self.visit.session.return_to) rel="noreferrer" { "Back to the application" }
                    form method="post" action="/connections/logout" {
                        (csrf_field(&self.visit))
                        button.quiet type="submit" { "Log out" }
                    }
                }
            }
        }
    }
}

fn more_accounts(next: &str) -> Markup {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("after", next)
        .finish();
    html! { p { a.button.quiet href={ "/connections?" (query) } { "More accounts" } } }
}

/// The hidden field of every form.
pub(super) fn csrf_field(visit: &Visit<'_>) -> Markup {
    html! { input type="hidden" name="csrf" value=(visit.csrf); }
}

#[cfg(test)]
#[path = "connections_tests.rs"]
pub(super) mod tests;
