//! How a connect flow ended, where the application named no address to go back to.

use maud::{Markup, html};
use oauth_manager_actors::domain::{authorization::CallbackResult, session::Session};

use super::{layout, words};

/// The page. Reasons are codes for programs; the user is told what to do.
pub(crate) fn page(session: Option<&Session>, result: &CallbackResult) -> Markup {
    let (title, meaning, code) = match result {
        CallbackResult::Connected(_) => (
            "Your account is connected",
            "You can close this window and go back to the application.",
            None,
        ),
        CallbackResult::ConfirmationRequired(_) => (
            "Almost done",
            "The application must now confirm that it was you. It gave no address to send you back to, so this cannot be \
             finished from here: go back to the application and connect again from there.",
            None,
        ),
        CallbackResult::Denied(reason) => (
            "Nothing was connected",
            "You did not allow it, and nothing was changed. You can close this window.",
            Some(reason),
        ),
        CallbackResult::Failed(reason) => (
            "Connecting did not work",
            words::failed(reason.as_str()),
            Some(reason),
        ),
    };
    layout::page(
        session,
        title,
        html! {
            h1 { (title) }
            div.card role="status" {
                p { (meaning) }
                @if matches!(result, CallbackResult::Failed(_)) { p { "Nothing was connected and nothing was changed." } }
                @if let Some(code) = code { p.soft.small { "If you ask for help, give this word: " code { (code) } } }
            }
        },
    )
}

#[cfg(test)]
mod tests {
    use oauth_manager_actors::domain::{reason::ReasonCode, secret::Confirmation};

    use super::*;

    #[test]
    fn the_page_shows_neither_the_confirmation_nor_a_providers_words() {
        let waits = page(
            None,
            &CallbackResult::ConfirmationRequired(Confirmation::new("one-time")),
        )
        .into_string();
        assert!(!waits.contains("one-time"));
        let failed = page(
            None,
            &CallbackResult::Failed(ReasonCode::new("<script>alert(1)</script>")),
        )
        .into_string();
        assert!(!failed.contains("<script"));
    }
}
