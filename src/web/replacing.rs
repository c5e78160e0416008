//! The browser holds another user's session: nobody is replaced without being asked.

use maud::{Markup, html};
use oauth_manager_actors::domain::session::Session;
use uuid::Uuid;

use super::layout;

/// Who goes on? The page is still the one's whose session it is.
pub(crate) fn page(csrf: &str, link_id: Uuid, living: &Session, coming: &Session) -> Markup {
    layout::page(
        Some(living),
        "Somebody else is here",
        html! {
            h1 { "Somebody else is here" }
            form.card.notice.attention method="post" action={ "/session/" (link_id) "/enter" } {
                input type="hidden" name="csrf" value=(csrf);
                p {
                    "This browser shows the connections of " (who(living)) ". You are about to see those of " (who(coming)) " instead."
                }
                p { "If that is not you, keep what is shown: whatever you connect would belong to them." }
                div.row {
                    a.button href="/connections" { "Stay with " bdi { (living.whose()) } }
                    button.quiet type="submit" { "Go on as " bdi { (coming.whose()) } }
                }
            }
        },
    )
}

fn who(session: &Session) -> Markup {
    html! { strong { bdi { (session.whose()) } } " (" bdi { (session.application) } ")" }
}
