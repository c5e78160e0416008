//! Taking an account back: the question, and what became of it.

use maud::{Markup, html};
use oauth_manager_actors::{
    domain::{
        integration::IntegrationView,
        provider::{Provider, RevocationSupport},
        session::Session,
        token::{ProviderRevocation, RevocationReport},
    },
    handle::SharedGrant,
};
use url::Url;

use super::{
    connections::{Visit, csrf_field},
    layout,
    words::{account_email, account_name},
};

/// Is it meant?
pub(crate) fn question(
    visit: &Visit<'_>,
    provider: &Provider,
    view: &IntegrationView,
    shared: &SharedGrant,
) -> Markup {
    layout::page(
        Some(visit.session),
        "Disconnect this account?",
        html! {
            h1 { "Disconnect this account?" }
            div.card {
                (which(provider, view))
                p { "From then on the application can no longer use this account. What it has already fetched is not deleted." }
                @if let RevocationSupport::Unsupported { reason } = &provider.revocation {
                    p.soft { (with_links(reason)) }
                }
                (also_on_it(provider, shared))
                div.row {
                    form method="post" action="/connections/disconnect" {
                        (csrf_field(visit))
                        input type="hidden" name="integration_id" value=(view.id);
                        button.danger type="submit" { "Disconnect" }
                    }
                    a.button.quiet href="/connections" { "Keep it" }
                }
            }
        },
    )
}

/// Which other connections live on the same grant, and what that means for this one.
fn also_on_it(provider: &Provider, shared: &SharedGrant) -> Markup {
    let name = &provider.display_name;
    html! {
        @if !shared.own.is_empty() || shared.others > 0 {
            p { (name) " knows this account and the application only as one. The same permission is also used by:" }
            ul {
                @for other in &shared.own {
                    li { (other.provider) ": " bdi { (account_name(other)) } }
                }
                @if shared.others > 0 { li { "somebody else who has connected this account to the application" } }
            }
            p.soft {
                "These go on working. So that they can, the permission stays at " (name) " until the last of them is \
                 disconnected; what was kept here for this connection is deleted now."
            }
        }
    }
}

/// What became of it. The report's own detail is written for programs; the same is said here in a user's words.
pub(crate) fn report(
    session: &Session,
    provider: &Provider,
    view: &IntegrationView,
    report: &RevocationReport,
) -> Markup {
    let name = &provider.display_name;
    ended(
        session,
        "Disconnected",
        html! {
            (which(provider, view))
            p { "The application can no longer use this account." }
            @match (report.provider_revocation, &provider.revocation) {
                (ProviderRevocation::Confirmed, _) => {
                    p { (name) " has confirmed it. What was under way at this moment may still go on for a short while." }
                }
                (ProviderRevocation::Pending, _) => {
                    p { (name) " could not be told yet. We keep trying; there is nothing for you to do." }
                }
                (ProviderRevocation::Shared, _) => {
                    p.soft {
                        "Another connection uses the same permission at " (name) ", so it stays there until the last of \
                         them is disconnected. What was kept here for this connection is deleted."
                    }
                }
                (ProviderRevocation::Unsupported, RevocationSupport::Unsupported { reason }) => {
                    p.soft { (with_links(reason)) }
                }
                (ProviderRevocation::Unsupported, RevocationSupport::Supported) => {
                    p.soft {
                        (name) " could not be told about this connection. You can end it there too: look for connected \
                                applications in your account settings."
                    }
                }
            }
        },
    )
}

/// It was taken back before: a second press of the button, an old page.
pub(crate) fn already(session: &Session, provider: &Provider, view: &IntegrationView) -> Markup {
    ended(
        session,
        "Already disconnected",
        html! {
            (which(provider, view))
            p { "This account was disconnected before. There is nothing more for you to do." }
        },
    )
}

fn ended(session: &Session, title: &str, content: Markup) -> Markup {
    layout::page(
        Some(session),
        title,
        html! {
            h1 { (title) }
            div.card role="status" {
                (content)
                div.row { a.button href="/connections" { "Back to your connections" } }
            }
        },
    )
}

fn which(provider: &Provider, view: &IntegrationView) -> Markup {
    html! {
        p { strong { (provider.display_name) ": " bdi { (account_name(view)) } } }
        @if let Some(email) = account_email(view) {
            p.soft { bdi { (email) } }
        }
    }
}

/// The catalogue's text with its addresses as links.
fn with_links(text: &str) -> Markup {
    html! {
        @for word in text.split_inclusive(' ') {
            @let bare = word.trim_end_matches([' ', '.', ',', ';', ')']);
            @if bare.starts_with("https://") && Url::parse(bare).is_ok() {
                a href=(bare) rel="noreferrer" { (bare) } (&word[bare.len()..])
            } @else {
                (word)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_in_a_text_become_links_and_nothing_else_does() {
        let html =
            with_links("Open https://a.example/x?y=1&z. Not javascript:alert(1) or <b>.").into_string();
        assert_eq!(
            html,
            "Open <a href=\"https://a.example/x?y=1&amp;z\" rel=\"noreferrer\">https://a.example/x?y=1&amp;z</a>. \
             Not javascript:alert(1) or &lt;b&gt;."
        );
    }
}
