//! What a store takes of the texts that others write: providers above all. Whoever reads such a text bounds and cleans it
//! there, so that everything that was accepted can be kept: what the database refuses for good would otherwise be the loss
//! of whatever came with it, a refresh token for instance.
//!
//! The limits are those of the schema (`migrations/`), or tighter.

use serde_json::Value;

use super::scope::{Scope, ScopeSet};

/// Scopes of one account.
pub const SCOPES_MAX: usize = 500;
/// Longest scope kept. Those of providers are addresses at the most.
pub const SCOPE_CHARS_MAX: usize = 1024;
/// Longest token: sealed it must fit its column of 64 KiB, and no header takes one that is longer.
pub const TOKEN_BYTES_MAX: usize = 65_000;
/// Longest word for what kind of token it is.
pub const TOKEN_TYPE_CHARS_MAX: usize = 64;
/// Longest account id: OpenID Connect Core 2 limits `sub` to 255 ASCII characters.
pub const ACCOUNT_ID_CHARS_MAX: usize = 255;
/// Longest issuer.
pub const ISSUER_CHARS_MAX: usize = 2048;
/// What is kept about an account beside its name, as JSON.
pub const METADATA_BYTES_MAX: usize = 16_384;
/// What of it a reader keeps: the database writes a blank behind each colon and comma.
const METADATA_BYTES_KEPT: usize = METADATA_BYTES_MAX / 2;

/// Whether a character could end a line, hide text, steer a terminal, or be refused by the database (NUL): control
/// characters, line and paragraph separators, marks that turn the direction of writing.
pub fn is_disruptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a scope can be kept. One that cannot is left out and never mended: mended it would be another scope, which
/// nobody granted.
pub fn is_scope(name: &str) -> bool {
    !name.is_empty() && name.chars().count() <= SCOPE_CHARS_MAX && !name.chars().any(is_disruptive)
}

/// Whether a text can name an account at its provider.
pub fn is_account_id(id: &str) -> bool {
    !id.is_empty() && id.chars().count() <= ACCOUNT_ID_CHARS_MAX && !id.chars().any(char::is_control)
}

/// Scopes that can be kept: those that are none are left out, and of too many those in `known` stay before others.
pub fn scopes(given: &ScopeSet, known: &ScopeSet) -> ScopeSet {
    let is_kept = |scope: &&Scope| is_scope(scope.as_str());
    if given.len() <= SCOPES_MAX && given.iter().all(|scope| is_kept(&scope)) {
        return given.clone();
    }
    let (first, rest): (Vec<_>, Vec<_>) = given
        .iter()
        .filter(is_kept)
        .partition(|scope| known.contains(scope));
    first.into_iter().chain(rest).take(SCOPES_MAX).collect()
}

/// A text to show: at most so many characters, none of them disruptive.
pub fn shown(text: &str, chars_max: usize) -> String {
    text.chars()
        .filter(|c| !is_disruptive(*c))
        .take(chars_max)
        .collect()
}

/// What is kept about an account, without characters that no database keeps, and no more than fits: the longest of its
/// members go first.
pub fn metadata(given: Value) -> Value {
    let mut kept = cleaned(given);
    while let Value::Object(members) = &mut kept
        && bytes(members) > METADATA_BYTES_KEPT
    {
        let longest = members.iter().max_by_key(|(_, value)| value.to_string().len());
        match longest.map(|(name, _)| name.clone()) {
            Some(name) => drop(members.remove(&name)),
            None => break,
        }
    }
    kept
}

fn bytes(members: &serde_json::Map<String, Value>) -> usize {
    let member = |(name, value): (&String, &Value)| name.len() + value.to_string().len() + 6;
    members.iter().map(member).sum()
}

fn cleaned(value: Value) -> Value {
    let text = |text: String| -> String {
        if text.chars().any(char::is_control) {
            text.chars().filter(|c| !c.is_control()).collect()
        } else {
            text
        }
    };
    match value {
        Value::String(given) => Value::String(text(given)),
        Value::Array(items) => items.into_iter().map(cleaned).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (text(name), cleaned(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_scope_that_cannot_be_kept_is_left_out_and_never_becomes_another_one() {
        let long = "s".repeat(SCOPE_CHARS_MAX);
        let given: ScopeSet = [
            "admin\0",
            "read",
            "wri\u{202e}te",
            "",
            &format!("{long}s"),
            &long,
            "größe",
        ]
        .into_iter()
        .collect();
        let expected: ScopeSet = ["read", "größe", &long].into_iter().collect();
        assert_eq!(scopes(&given, &ScopeSet::default()), expected);
    }

    #[test]
    fn of_too_many_scopes_the_known_ones_stay() {
        let many: Vec<_> = (0..=SCOPES_MAX).map(|n| format!("a{n}")).collect();
        let known = ScopeSet::from_iter(["zz.last"]);
        let kept = scopes(&many.iter().collect::<ScopeSet>().union(&known), &known);
        assert_eq!(kept.len(), SCOPES_MAX);
        assert!(known.is_subset(&kept));
        let just: ScopeSet = many.iter().take(SCOPES_MAX).collect();
        assert_eq!(scopes(&just, &ScopeSet::default()), just);
    }

    #[test]
    fn metadata_loses_what_no_database_keeps_and_the_longest_of_too_much() {
        let given = json!({ "sub\0": "a\u{0}b\n", "list": ["\u{1}", 1, null], "long": "x".repeat(20_000) });
        assert_eq!(metadata(given), json!({ "sub": "ab", "list": ["", 1, null] }));
        let plain = json!({ "workspace_name": "Zoë & 👩‍🚀" });
        assert_eq!(metadata(plain.clone()), plain);
        assert_eq!(metadata(Value::Null), Value::Null);
    }
}
