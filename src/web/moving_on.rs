//! Pages between two places: on the way to a provider, and after logging out.

use maud::{Markup, html};
use oauth_manager_actors::domain::session::Session;
use url::Url;

use super::layout;

/// On the way to a provider. A page and not a redirect: browsers hold the redirects after a form to the addresses that
/// the form's page allows, and the provider's cannot be among them.
pub(crate) fn page(session: &Session, provider_name: &str, destination: &Url) -> Markup {
    layout::page_moving_to(
        session,
        "One moment",
        destination,
        html! {
            h1 { "One moment" }
            div.card {
                p { "You are being taken to " (provider_name) ", where you choose the account and what to allow. After that you come back here." }
                div.row { a.button href=(destination) rel="noreferrer" { "Continue to " (provider_name) } }
            }
        },
    )
}

/// The session is over.
pub(crate) fn logged_out(session: &Session) -> Markup {
    layout::page(
        Some(session),
        "You are logged out",
        html! {
            h1 { "You are logged out" }
            div.card {
                p { "Your connections stay as they are. To see them again, open them from your application." }
                div.row { a.button href=(session.return_to) rel="noreferrer" { "Back to the application" } }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::connections::tests::session;

    #[test]
    fn the_way_to_a_provider_goes_on_by_itself_and_by_a_link() {
        let destination = "https://oauth.example.com/connect/abc?x=1&y=2".parse().unwrap();
        let html = page(&session(), "<b>Acme</b>", &destination).into_string();
        assert!(html.contains("content=\"0; url=https://oauth.example.com/connect/abc?x=1&amp;y=2\""));
        assert!(html.contains("href=\"https://oauth.example.com/connect/abc?x=1&amp;y=2\""));
        assert!(!html.contains("<b>"));
    }
}
