//! The frame of every page, and the one style sheet (inline, named by its hash in the Content-Security-Policy).

use maud::{DOCTYPE, Markup, PreEscaped, html};
use oauth_manager_actors::domain::session::Session;
use url::Url;

/// The style sheet. A constant: its hash is part of the security headers.
pub(crate) const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2024;--soft:#5b6470;--line:#dfe3e8;--paper:#fff;--back:#f6f7f9;--act:#1a5fb4;\
--act-ink:#fff;--good:#1b7f4b;--warn:#9a5b00;--bad:#b3261e}\
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a3abb5;--line:#343a41;--paper:#1d2125;--back:#14171a;\
--act:#8ab8f5;--act-ink:#0d1b2a;--good:#6fcf97;--warn:#f0b45b;--bad:#f28b82}}\
*{box-sizing:border-box}\
body{margin:0;background:var(--back);color:var(--ink);font:1rem/1.55 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;\
overflow-wrap:anywhere}\
main{max-width:42rem;margin:0 auto;padding:2rem 1rem 4rem}\
h1{font-size:1.6rem;line-height:1.25;margin:0 0 1rem}h1+.soft{margin:-.6rem 0 1.2rem}\
h2{font-size:1.15rem;margin:2.25rem 0 .75rem}h3{font-size:1rem;margin:0}\
p{margin:.4rem 0}.owner{margin:0 0 1.5rem;padding:0 0 .6rem;border-bottom:1px solid var(--line);color:var(--soft)}\
.owner strong{color:var(--ink)}a{color:var(--act)}.soft{color:var(--soft)}.small{font-size:.92rem}\
.card{background:var(--paper);border:1px solid var(--line);border-radius:.75rem;padding:1rem 1.1rem;margin:0 0 .9rem}\
.head{display:flex;flex-wrap:wrap;gap:.3rem .8rem;align-items:flex-start;justify-content:space-between}\
.head>:first-child{flex:1 1 11rem;min-width:0}.head p{margin:.1rem 0 0}\
.state{font-weight:600;font-size:.92rem;border:1px solid;border-radius:1rem;padding:.05rem .7rem}\
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}\
.notice{border-left:.3rem solid var(--act)}.notice.attention{border-left-color:var(--bad)}\
ul.plain{list-style:none;padding:0;margin:.6rem 0}\
ul.plain li{display:flex;flex-wrap:wrap;gap:.2rem .5rem;align-items:center;margin:.3rem 0}\
ul.plain li>p{flex-basis:100%;margin:0}ul.plain form{margin:0 0 0 auto}ul.plain button{min-height:2.25rem;padding:.2rem .8rem}\
fieldset{border:0;padding:0;margin:.6rem 0 0;min-width:0}legend{padding:0;color:var(--soft);font-size:.92rem}\
label{display:flex;gap:.6rem;align-items:flex-start;padding:.4rem 0;cursor:pointer}\
input[type=checkbox]{width:1.15rem;height:1.15rem;margin:.2rem 0 0;flex:none;accent-color:var(--act)}\
summary{cursor:pointer;font-weight:600;color:var(--act);padding:.6rem 0;border-radius:.3rem}\
details.card{padding-top:.4rem;padding-bottom:.4rem}details.card[open]{padding-bottom:1rem}summary h3{display:inline}\
.row{display:flex;flex-wrap:wrap;gap:.6rem;align-items:center;margin-top:.8rem}.row form{margin:0}\
button,.button{display:inline-block;font:inherit;font-weight:600;text-decoration:none;min-height:2.75rem;padding:.55rem 1.1rem;\
border-radius:.55rem;border:1px solid var(--act);background:var(--act);color:var(--act-ink);cursor:pointer}\
.quiet{background:transparent;color:var(--act)}.danger{background:var(--bad);border-color:var(--bad);color:var(--paper)}\
:focus-visible{outline:3px solid var(--act);outline-offset:2px}\
footer{margin-top:2.5rem;padding-top:1rem;border-top:1px solid var(--line)}";

/// A page. `session`: whose it is, if that is known; said on every page, so that nobody acts on another's by mistake.
pub(crate) fn page(session: Option<&Session>, title: &str, content: Markup) -> Markup {
    frame(session, title, None, content)
}

/// A page that goes on by itself at once.
pub(crate) fn page_moving_to(session: &Session, title: &str, destination: &Url, content: Markup) -> Markup {
    frame(Some(session), title, Some(destination), content)
}

/// Whose connections, and for which application.
fn owner(session: &Session) -> Markup {
    html! {
        p.owner {
            "Connections of " strong { bdi { (session.whose()) } } " for the application "
            strong { bdi { (session.application) } }
        }
    }
}

fn frame(session: Option<&Session>, title: &str, destination: Option<&Url>, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                @if let Some(destination) = destination {
                    meta http-equiv="refresh" content=(format!("0; url={destination}"));
                }
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    @if let Some(session) = session { (owner(session)) }
                    (content)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_sheet_needs_nothing_from_elsewhere() {
        for word in ["url(", "@import", "http", "<"] {
            assert!(!STYLE.contains(word), "{word}");
        }
        assert!(
            page(None, "x", html! {})
                .into_string()
                .contains(&format!("<style>{STYLE}</style>"))
        );
    }
}
