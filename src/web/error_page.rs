//! Errors for people: what happened, what to do now, and the number that helps those who help.

use http::StatusCode;
use maud::{Markup, html};
use oauth_manager_actors::domain::{reason::WhoMustAct, session::Session};

use super::layout;

/// A problem of this status, and whose move it is.
pub(crate) fn page(
    session: Option<&Session>,
    status: StatusCode,
    who: WhoMustAct,
    request_id: &str,
) -> Markup {
    let (title, words) = match who {
        WhoMustAct::Operator if status.is_server_error() => OURS,
        _ => words(status),
    };
    layout::page(
        session,
        title,
        html! {
            h1 { (title) }
            div.card role="alert" {
                p { (words) }
                p.soft.small { "If you ask for help, give this number: " code { (request_id) } }
            }
        },
    )
}

/// Nobody who reads this can mend it, and trying again does not help.
const OURS: (&str, &str) = (
    "Something is wrong on our side",
    "This is not yours to mend, and trying again does not help: those who run this service have been told and must set it \
     right. Nothing was changed.",
);

fn words(status: StatusCode) -> (&'static str, &'static str) {
    match status.as_u16() {
        400 | 405 | 408 | 413 | 414 => (
            "This did not work",
            "The request was not as it should be, and nothing was changed. Go back to the application and begin again there.",
        ),
        401 => (
            "You are not logged in here",
            "Your visit has ended or has not begun. Open this page again from your application.",
        ),
        403 => (
            "This was not done",
            "The request did not come from our own page, so nothing was changed. Go back, reload the page and try again.",
        ),
        404 => (
            "This link does not exist",
            "It is not complete, or what it leads to is no longer there. Go back to the application and begin again there.",
        ),
        409 => (
            "This was not done",
            "It does not fit how the account stands now. Go back to your connections and look again.",
        ),
        410 => (
            "This link no longer works",
            "Each link works for a few minutes, and what you began goes on only in the browser where you began it. Go back to the application and begin again there.",
        ),
        429 | 502..=504 => (
            "Please try again in a moment",
            "Something we depend on does not answer right now. Nothing was changed.",
        ),
        _ => (
            "Something went wrong on our side",
            "We must mend this; there is nothing for you to do. Please try again later.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_words_and_shows_the_request_id_only() {
        for status in [400, 401, 403, 404, 405, 409, 410, 413, 429, 500, 502, 503, 504] {
            let html = page(
                None,
                StatusCode::from_u16(status).unwrap(),
                WhoMustAct::Nobody,
                "id-<1>",
            )
            .into_string();
            assert!(html.contains("<h1>") && html.contains("id-&lt;1&gt;"), "{status}");
        }
    }
}
