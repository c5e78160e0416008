//! A reconnect came back as another account: which one is meant?

use maud::{Markup, html};
use oauth_manager_actors::domain::{
    account::Account,
    authorization::{AccountMismatch, Choice},
    ids::AuthorizationId,
    session::Session,
};

use super::{layout, words};

/// The question as a page of its own.
pub(crate) fn page(
    session: &Session,
    csrf: &str,
    provider: &str,
    flow: AuthorizationId,
    mismatch: &AccountMismatch,
) -> Markup {
    layout::page(
        Some(session),
        "Another account came back",
        html! { h1 { "Another account came back" } (card(csrf, provider, flow, mismatch)) },
    )
}

/// The question.
pub(crate) fn card(csrf: &str, provider: &str, flow: AuthorizationId, mismatch: &AccountMismatch) -> Markup {
    html! {
        form.card.notice.attention method="post" action="/connections/choose" {
            input type="hidden" name="csrf" value=(csrf);
            input type="hidden" name="authorization_id" value=(flow);
            p {
                "You were to connect " (account(provider, &mismatch.connected)) " again, and came back as "
                (account(provider, &mismatch.returned)) ". Nothing has been changed yet."
            }
            div.row {
                button type="submit" name="choice" value=(Choice::Keep.as_str()) { "Keep the account I had" }
                button.quiet type="submit" name="choice" value=(Choice::Connect.as_str()) { "Connect the other one as well" }
            }
        }
    }
}

fn account(provider: &str, account: &Account) -> Markup {
    html! {
        strong { (provider) ": " bdi { (words::name_of(account)) } }
        @if let Some(email) = words::email_of(account) { " (" bdi { (email) } ")" }
    }
}
