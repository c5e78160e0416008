//! *Your connections*: what is connected, how it stands, what else could be.

use std::sync::Arc;

use maud::{Markup, html};
use oauth_manager_actors::domain::{
    feature::FeatureKey,
    integration::{IntegrationView, Status},
    provider::Provider,
    session::Session,
};

use super::{
    layout,
    words::{self, account_name},
};

/// A user's visit: who, and the token of their forms.
pub(crate) struct Visit<'a> {
    /// The session.
    pub(crate) session: &'a Session,
    /// For every form.
    pub(crate) csrf: String,
}

/// How the flow ended that brought the user back here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// It worked.
    Connected,
    /// The user said no.
    Denied,
    /// It did not work.
    Failed,
}

impl Notice {
    /// By the `status` of the address; only words of ours are ever shown.
    pub(crate) fn of_status(status: &str) -> Option<Self> {
        match status {
            "connected" => Some(Self::Connected),
            "denied" => Some(Self::Denied),
            "failed" | "confirmation_required" => Some(Self::Failed),
            _ => None,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Connected => "Done: your account is connected.",
            Self::Denied => "Nothing was connected, because you did not allow it at the provider.",
            Self::Failed => "Connecting did not work this time, and nothing was changed. You can try again.",
        }
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
    /// What just happened.
    pub(crate) notice: Option<Notice>,
}

impl ConnectionsPage<'_> {
    /// The page.
    pub(crate) fn render(&self) -> Markup {
        let mut accounts = self
            .accounts
            .iter()
            .filter(|view| view.status != Status::Revoked)
            .peekable();
        layout::page(
            "Your connections",
            html! {
                h1 { "Your connections" }
                p.soft { "The accounts you have connected, and what they may be used for." }
                @if let Some(notice) = self.notice {
                    p.card.notice role="status" { (notice.words()) }
                }
                section aria-labelledby="connected" {
                    h2 #connected { "Connected accounts" }
                    @if accounts.peek().is_none() { p.card.soft { "You have not connected any account yet." } }
                    @for view in accounts { (self.account(view)) }
                }
                section aria-labelledby="more" {
                    h2 #more { "Connect an account" }
                    @for provider in self.providers.iter().filter(|provider| provider.configured) {
                        (self.offer(provider))
                    }
                    @if !self.providers.iter().any(|provider| provider.configured) {
                        p.card.soft { "There is nothing to connect yet." }
                    }
                }
                (self.footer())
            },
        )
    }

    fn account(&self, view: &IntegrationView) -> Markup {
        let provider = self
            .providers
            .iter()
            .find(|provider| provider.key == view.provider);
        let provider_name =
            provider.map_or(view.provider.as_str(), |provider| provider.display_name.as_str());
        let told = words::account(view);
        html! {
            article.card {
                h3.wrap { (provider_name) ": " (account_name(view)) }
                @if let Some(email) = view.account.email.as_deref().filter(|email| *email != account_name(view)) {
                    p.soft.wrap { (email) }
                }
                p { span.state.(told.class) { (told.state) } }
                p { (told.meaning) }
                @if !view.features.is_empty() {
                    ul.plain {
                        @for state in &view.features {
                            li { (feature_name(provider, &state.key)) " — " (words::feature(state.status)) }
                        }
                    }
                }
                p.soft { "Connected since " (view.created_at.strftime("%-d %B %Y")) }
                div.row {
                    @if told.reconnect && provider.is_some_and(|provider| provider.configured) {
                        (self.reconnect(view))
                    }
                    a.button.quiet href={ "/connections/disconnect?integration_id=" (view.id) } { "Disconnect" }
                }
            }
        }
    }

    fn reconnect(&self, view: &IntegrationView) -> Markup {
        html! {
            form method="post" action="/connections/connect" {
                (csrf_field(&self.visit))
                input type="hidden" name="provider" value=(view.provider);
                input type="hidden" name="integration_id" value=(view.id);
                @for state in &view.features { input type="hidden" name="feature" value=(state.key); }
                button type="submit" { "Connect again" }
            }
        }
    }

    fn offer(&self, provider: &Provider) -> Markup {
        html! {
            article.card {
                h3 { (provider.display_name) }
                form method="post" action="/connections/connect" {
                    (csrf_field(&self.visit))
                    input type="hidden" name="provider" value=(provider.key);
                    @if !provider.features.is_empty() {
                        fieldset {
                            legend { "What it may be used for" }
                            @for feature in &provider.features {
                                label {
                                    input type="checkbox" name="feature" value=(feature.key)
                                        checked[self.is_suggested(provider, &feature.key, feature.default)];
                                    span { (feature.display_name) br; span.soft { (feature.description) } }
                                }
                            }
                        }
                    }
                    div.row { button type="submit" { "Connect " (provider.display_name) } }
                }
            }
        }
    }

    /// What the application asked to offer first, or else the provider's default.
    fn is_suggested(&self, provider: &Provider, key: &FeatureKey, default: bool) -> bool {
        let wanted = &self.visit.session.features;
        let says_something = wanted.iter().any(|key| key.provider() == provider.key.as_str());
        if says_something {
            wanted.contains(key)
        } else {
            default
        }
    }

    fn footer(&self) -> Markup {
        html! {
            footer {
                div.row {
                    @if let Some(back) = &self.visit.session.return_to {
                        a.button.quiet href=(back) rel="noreferrer" { "Back to the application" }
                    }
                    form method="post" action="/connections/logout" {
                        (csrf_field(&self.visit))
                        button.quiet type="submit" { "Log out" }
                    }
                }
            }
        }
    }
}

/// The hidden field of every form.
pub(super) fn csrf_field(visit: &Visit<'_>) -> Markup {
    html! { input type="hidden" name="csrf" value=(visit.csrf); }
}

fn feature_name<'a>(provider: Option<&'a Arc<Provider>>, key: &'a FeatureKey) -> &'a str {
    provider
        .and_then(|provider| provider.feature(key))
        .map_or(key.as_str(), |feature| feature.display_name.as_str())
}

#[cfg(test)]
#[path = "connections_tests.rs"]
mod tests;
