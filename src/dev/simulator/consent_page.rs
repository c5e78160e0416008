//! The simulator's pages: consent with a box per scope, and refusals. Plain HTML that works without scripts.

use std::sync::Arc;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use url::Url;

use super::account::Account;
use super::provider::Provider;

const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
* { box-sizing: border-box; }
body { margin: 0; background: light-dark(#f3f4f6, #14161a); color: light-dark(#1b1f24, #e8eaed); overflow-wrap: anywhere; }
.banner { background: #ffd54a; color: #1b1f24; padding: .5rem 1rem; text-align: center; font-weight: 600; }
.banner small { display: block; color: inherit; font-weight: 400; }
main { max-width: 30rem; margin: 2rem auto; padding: 1.5rem 2rem; border-radius: 1rem;
  background: light-dark(#fff, #1f2329); box-shadow: 0 1px 6px #0003; }
@media (max-width: 33rem) { main { margin: 1rem; padding: 1.25rem; } }
h1 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 1rem; }
fieldset { border: 1px solid light-dark(#c9ced6, #4a515c); border-radius: .6rem; margin: 0 0 1rem; padding: .5rem 1rem; min-width: 0; }
legend { padding: 0 .4rem; font-weight: 600; }
label { display: flex; gap: .7rem; align-items: flex-start; padding: .4rem 0; cursor: pointer; }
input { width: 1.1rem; height: 1.1rem; margin: .2rem 0 0; flex: none; accent-color: light-dark(#1a56c4, #8ab8f5); }
small { color: light-dark(#5a6370, #a5adb8); }
a { color: light-dark(#1a56c4, #8ab8f5); }
.buttons { display: flex; flex-wrap: wrap; gap: .75rem; justify-content: flex-end; }
button { font: inherit; font-weight: 600; min-height: 2.75rem; padding: .55rem 1.4rem; border-radius: .5rem; border: 1px solid #7a828e;
  background: transparent; color: inherit; cursor: pointer; }
button.allow { background: #1a56c4; border-color: #1a56c4; color: #fff; }
:focus-visible { outline: 3px solid light-dark(#1a56c4, #8ab8f5); outline-offset: 2px; }
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

/// Names the person the page was made for.
pub const SHOWN_TO: &str = "_sim_shown_to";

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
    let (identity, asked): (Vec<&str>, Vec<&str>) = scopes
        .iter()
        .map(String::as_str)
        .partition(|scope| is_identity(scope));
    page(
        &format!("{application} wants access to your {name} account"),
        html! {
            form method="post" {
                input type="hidden" name=(SHOWN_TO) value=(chosen.key);
                fieldset {
                    legend { "Account" }
                    @if newcomer { (account_choice(chosen, true)) }
                    @for account in accounts { (account_choice(account, account.key == chosen.key)) }
                }
                fieldset {
                    legend { "What the application may do" }
                    @if scopes.is_empty() && provider != Provider::Notion {
                        p { "Nothing new: you have allowed all of it before." }
                    } @else if scopes.is_empty() {
                        p { "Work with the pages of the workspace " strong { (chosen.tenant_name) } "." }
                    }
                    @for scope in asked {
                        label {
                            input type="checkbox" name="scope" value=(scope) checked;
                            (in_words(scope))
                        }
                    }
                    @if !identity.is_empty() {
                        label {
                            input type="checkbox" checked disabled;
                            span { "Know who you are (always)" br; small { (identity.join(", ")) } }
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

/// A scope as a person would put it where its name says it, and in any case as it was asked for: who looks at a
/// simulator wants to see that.
fn in_words(scope: &str) -> Markup {
    let name = scope
        .strip_prefix("https://www.googleapis.com/auth/")
        .or(scope.strip_prefix("https://graph.microsoft.com/"))
        .unwrap_or(scope);
    let words = match name {
        "drive.file" => Some("See and change the files you use with it".to_owned()),
        "youtube" => Some("Manage your YouTube channel".to_owned()),
        _ => read_only(name).map(|what| format!("See your {what}")),
    };
    html! {
        span {
            @if let Some(words) = words { (words) br; small { (scope) } } @else { (scope) }
        }
    }
}

/// `calendar.readonly`, `Calendars.Read`: what is read, in lower case.
fn read_only(name: &str) -> Option<String> {
    let what = name.strip_suffix(".readonly").or(name.strip_suffix(".Read"))?;
    let plain = !what.is_empty() && what.chars().all(|c| c.is_ascii_alphabetic());
    plain.then(|| match what {
        "gmail" | "Mail" => "mail".to_owned(),
        "youtube" => "YouTube channel".to_owned(),
        "User" => "profile".to_owned(),
        other => other.to_ascii_lowercase(),
    })
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
            p { (text) }
            p { small { "Its code: " code { (code) } } }
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
                li { a href="/_sim/requests" { code { "/_sim/requests" } } " what was asked so far" }
            }
            p { "People:" }
            ul { @for account in accounts { li { (account.name) " (" code { (account.key) } ")" } } }
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
                // No request for an icon that is not there.
                link rel="icon" href="data:,";
                title { (title) " · simulator" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                div class="banner" role="note" {
                    "Simulator" small { "Not the real thing: the people are made up, and nothing leaves this machine." }
                }
                main { h1 { (title) } (content) }
            }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::simulator::account::residents;

    #[test]
    fn a_box_shows_the_scope_it_stands_for_and_hostile_names_stay_text() {
        let people = residents(Provider::Google);
        let scopes = [
            "openid".to_owned(),
            "https://www.googleapis.com/auth/calendar.readonly".to_owned(),
            "<script>.readonly".to_owned(),
        ];
        let html = ask(Provider::Google, "<b>App</b>", &scopes, &people, &people[0]);
        assert!(
            html.contains("See your calendar<br><small>https://www.googleapis.com/auth/calendar.readonly")
        );
        assert!(html.contains("Know who you are"));
        assert_eq!(html.matches("name=\"scope\"").count(), 2);
        assert!(!html.contains("<script>") && !html.contains("<b>App"));
        assert!(html.contains("Simulator"));
    }
}
