//! What was measured, as `docs/providers/errors.md` publishes it.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Row, Seen};

/// How an answer ended for whom it was given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Reconnect,
    User,
    Admin,
    Operator,
    Nobody,
    Other,
}

const COLUMNS: [(Ending, &str); 5] = [
    (Ending::Reconnect, "user: connects again"),
    (Ending::User, "user: acts or begins again, tokens kept"),
    (Ending::Admin, "admin"),
    (Ending::Operator, "operator"),
    (Ending::Nobody, "nobody: tried again, or done"),
];

pub struct Judged {
    pub row: Row,
    pub seen: Seen,
}

impl Judged {
    pub fn is_right(&self) -> bool {
        self.seen.who == self.row.right.who_must_act
    }

    /// Somebody is asked to connect again, or has lost tokens, for what does not end a grant.
    pub fn is_wrongly_dead(&self) -> bool {
        let lost = self.seen.tokens_forgotten && self.row.right.class != "dead_grant";
        let asked = self.seen.status == "reauth_required" && self.row.right.who_must_act != "user";
        lost || asked
    }

    fn ending(&self) -> Ending {
        match self.seen.who.as_str() {
            "user" if self.seen.tokens_forgotten => Ending::Reconnect,
            "user" => Ending::User,
            "admin" => Ending::Admin,
            "operator" => Ending::Operator,
            "nobody" => Ending::Nobody,
            _ => Ending::Other,
        }
    }

    pub fn line(&self) -> String {
        let Row {
            provider,
            phase,
            status,
            body,
            right,
            ..
        } = &self.row;
        let seen = &self.seen;
        format!(
            "{provider} {phase} {status} {body}: right {}/{}, seen {seen:?}",
            right.class, right.who_must_act
        )
    }

    /// What tells this answer from others, on a page.
    fn said(&self) -> String {
        let words = match &self.row.body {
            serde_json::Value::String(text) => text.clone(),
            body => body.to_string(),
        };
        let words: String = words.chars().take(90).collect();
        words.replace('|', "\\|").replace(['\r', '\n'], " ")
    }
}

/// The part of the page that is measured.
pub fn measured(judged: &[Judged]) -> String {
    let count = |of: &dyn Fn(&Judged) -> bool| judged.iter().filter(|one| of(one)).count();
    let mut text = String::new();
    let mut line = |words: String| writeln!(text, "{words}").unwrap();
    line("| | answers |\n|---|---:|".to_owned());
    line(format!("| tried | {} |", judged.len()));
    line(format!(
        "| the right one is named | {} |",
        count(&Judged::is_right)
    ));
    line(format!(
        "| stopped another account or a new user | {} |",
        count(&|one| one.seen.stopped_others)
    ));
    line(format!(
        "| wrongly taken for the end of a grant | {} |",
        count(&Judged::is_wrongly_dead)
    ));
    line(format!(
        "| others waited too, because the provider named a time to come again | {} |",
        count(&|one| one.seen.others_wait_as_asked)
    ));
    line(String::new());

    let mut table: BTreeMap<(String, String), BTreeMap<Ending, usize>> = BTreeMap::new();
    for one in judged {
        let right = (one.row.right.class.clone(), one.row.right.who_must_act.clone());
        *table.entry(right).or_default().entry(one.ending()).or_default() += 1;
    }
    let names: Vec<_> = COLUMNS.iter().map(|(_, name)| *name).collect();
    line(format!("| right | {} |", names.join(" | ")));
    line(format!("|---|{}", "---:|".repeat(COLUMNS.len())));
    for ((class, who), counts) in table {
        let cells = COLUMNS.map(|(ending, _)| counts.get(&ending).map_or(String::new(), usize::to_string));
        line(format!("| `{class}`: {who} | {} |", cells.join(" | ")));
    }
    line(String::new());

    line("| not named right | said | right | named |\n|---|---|---|---|".to_owned());
    for one in judged.iter().filter(|one| !one.is_right()) {
        line(format!(
            "| {} {} {} | `{}` | {} | {} |",
            one.row.provider,
            one.row.phase,
            one.row.status,
            one.said(),
            one.row.right.who_must_act,
            one.seen.who
        ));
    }
    text
}
