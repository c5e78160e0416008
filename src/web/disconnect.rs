//! Taking an account back: the question, and what became of it.

use maud::{Markup, html};
use oauth_manager_actors::domain::{
    integration::IntegrationView,
    provider::{Provider, RevocationSupport},
    token::{ProviderRevocation, RevocationReport},
};

use super::{
    connections::{Visit, csrf_field},
    layout,
    words::account_name,
};

/// Is it meant?
pub(crate) fn question(visit: &Visit<'_>, provider: &Provider, view: &IntegrationView) -> Markup {
    layout::page(
        "Disconnect this account?",
        html! {
            h1 { "Disconnect this account?" }
            div.card {
                p.wrap { strong { (provider.display_name) ": " (account_name(view)) } }
                p { "From then on the application can no longer use this account. What it has already fetched is not deleted." }
                @if let RevocationSupport::Unsupported { reason } = &provider.revocation {
                    p.soft { (reason) }
                }
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

/// What became of it.
pub(crate) fn report(report: &RevocationReport) -> Markup {
    let at_provider = match report.provider_revocation {
        ProviderRevocation::Confirmed => "The provider has confirmed it.",
        ProviderRevocation::Pending => "The provider could not be told yet; we keep trying until it is.",
        ProviderRevocation::Unsupported => {
            "The provider has no way for us to end it there; you can do that in your account settings at the provider."
        }
    };
    layout::page(
        "Disconnected",
        html! {
            h1 { "Disconnected" }
            div.card role="status" {
                p { "The account can no longer be used, from this moment on." }
                p { (at_provider) }
                @if !report.detail.is_empty() { p.soft { (report.detail) } }
                div.row { a.button href="/connections" { "Back to your connections" } }
            }
        },
    )
}
