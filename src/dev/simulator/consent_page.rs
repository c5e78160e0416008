//! The simulator's pages: consent with a box per scope, and refusals. Plain HTML that works without scripts.

use std::sync::Arc;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use url::Url;

use super::account::Account;
use super::provider::Provider;

const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0; background: light-dark(#f3f4f6, #14161a); color: light-dark(#1b1f24, #e8eaed); }
.banner { background: #ffd54a; color: #1b1f24; padding: .5rem 1rem; text-align: center; font-weight: 600; }
main { max-width: 30rem; margin: 2rem auto; padding: 1.5rem 2rem; border-radius: 1rem;
  background: light-dark(#fff, #1f2329); box-shadow: 0 1px 6px #0003; }
h1 { font-size: 1.35rem; margin: 0 0 1rem; }
fieldset { border: 1px solid light-dark(#c9ced6, #4a515c); border-radius: .6rem; margin: 0 0 1rem; padding: .5rem 1rem; }
label { display: flex; gap: .7rem; align-items: baseline; padding: .3rem 0; overflow-wrap: anywhere; }
small { color: light-dark(#5a6370, #a5adb8); }
.buttons { display: flex; gap: .75rem; justify-content: flex-end; }
button { font: inherit; padding: .55rem 1.4rem; border-radius: .5rem; border: 1px solid light-dark(#7a828e, #7a828e);
  background: transparent; color: inherit; cursor: pointer; }
button.allow { background: #1a56c4; border-color: #1a56c4; color: #fff; }
:focus-visible { outline: 3px solid #4c8dff; outline-offset: 2px; }
";

/// Scopes that say who the person is, or that the application may come back: they cannot be unticked.
pub fn is_identity(scope: &str) -> bool {
    matches!(
        scope,
        "openid"
            | "email"
            | "profile"
            | "offline_access"
            | "https://www.googleapis.com/auth/userinfo.email"
            | "https://www.googleapis.com/auth/userinfo.profile"
    )
}

/// The form has no action: it posts to the address of the page, with the authorization request in its query.
pub fn ask(
    provider: Provider,
    application: &str,
    scopes: &[String],
    accounts: &[Arc<Account>],
    chosen: &Account,
) -> String {
    let name = provider.display_name();
    let newcomer = !accounts.iter().any(|account| account.key == chosen.key);
    page(
        &format!("{application} wants access to your {name} account"),
        html! {
            form method="post" {
                fieldset {
                    legend { "Account" }
                    @if newcomer { (account_choice(chosen, true)) }
                    @for account in accounts { (account_choice(account, account.key == chosen.key)) }
                }
                fieldset {
                    legend { "What the application may do" }
                    @if scopes.is_empty() {
                        p { "Work with the pages of the workspace " strong { (chosen.tenant_name) } "." }
                    }
                    @for scope in scopes {
                        @if is_identity(scope) {
                            label {
                                input type="checkbox" checked disabled;
                                span { (scope) br; small { "needed to know who you are" } }
                            }
                        } @else {
                            label { input type="checkbox" name="scope" value=(scope) checked; span { (scope) } }
                        }
                    }
                }
                div class="buttons" {
                    button type="submit" name="decision" value="deny" { "Deny" }
                    button type="submit" name="decision" value="allow" class="allow" { "Allow" }
                }
            }
        },
    )
}

fn account_choice(account: &Account, chosen: bool) -> Markup {
    html! {
        label {
            input type="radio" name="_sim_user" value=(account.key) checked[chosen];
            span { (account.name) br; small { (account.email) } }
        }
    }
}

pub fn refusal(provider: Provider, code: &str, text: &str) -> String {
    page(
        &format!("{} refuses this request", provider.display_name()),
        html! {
            p { strong { (code) } }
            p { (text) }
        },
    )
}

/// `response_mode=form_post`, without the script that submits it in real life.
pub fn form_post(to: &Url, parameters: &[(&str, String)]) -> String {
    page(
        "Back to the application",
        html! {
            form method="post" action=(to) {
                @for (name, value) in parameters { input type="hidden" name=(name) value=(value); }
                div class="buttons" { button type="submit" class="allow" { "Continue" } }
            }
        },
    )
}

/// What stands at the simulator's root, for people who look.
pub fn index(accounts: &[Arc<Account>]) -> String {
    page(
        "Provider simulator",
        html! {
            p { "It plays Google, YouTube, Microsoft, Notion and a strict OpenID provider. Nothing here is real." }
            ul {
                @for provider in Provider::ALL {
                    li { code { "/" (provider.key()) "/…" } " " (provider.display_name()) }
                }
                li { code { "/_sim/requests" } " what was asked so far" }
            }
            p { "People: " @for account in accounts { (account.name) " (" code { (account.key) } ") " } }
        },
    )
}

fn page(title: &str, content: Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · simulator" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                div class="banner" role="note" { "Simulator: not a real provider, no real accounts" }
                main { h1 { (title) } (content) }
            }
        }
    }
    .into_string()
}
