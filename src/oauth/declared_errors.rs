//! What an operator declared about a provider's own words: looked at before any table.

use oauth_manager_actors::ports::oauth::FailureKind;
use serde_json::Value;

use super::{
    classify::Verdict,
    error_answer::{ErrorAnswer, as_code, word},
    settings::{DeclaredErrors, ErrorSign},
};

impl DeclaredErrors {
    /// The verdict of the lists, if one of their entries fits. A value in the answer says more than a code; and of several
    /// entries that fit, the one that costs an account least is taken.
    pub(super) fn verdict(&self, error: &ErrorAnswer) -> Option<Verdict> {
        let lists = [
            (FailureKind::Passing, &self.transient),
            (FailureKind::Operator, &self.client),
            (FailureKind::Admin, &self.admin),
            (FailureKind::DeadGrant, &self.dead),
        ];
        let find = |is_code: bool| {
            lists.iter().find_map(|(kind, signs)| {
                let mut signs = signs
                    .iter()
                    .filter(|sign| matches!(sign, ErrorSign::Code(_)) == is_code);
                let sign = signs.find(|sign| fits(sign, error))?;
                Some(Verdict::new(*kind, reason(sign, error)))
            })
        };
        find(false).or_else(|| find(true))
    }
}

fn fits(sign: &ErrorSign, error: &ErrorAnswer) -> bool {
    match sign {
        ErrorSign::Value { pointer, equals } => error.at(pointer) == Some(equals),
        ErrorSign::Code(code) => {
            let Some(wanted) = word(code) else {
                return false;
            };
            let is_number = || {
                let number = wanted
                    .strip_prefix("aadsts")
                    .and_then(|number| number.parse().ok());
                number.is_some_and(|number: u32| error.numbers.contains(&number))
            };
            let shown = [&error.code, &error.subcode].into_iter().flatten();
            error.words.contains(&wanted) || shown.into_iter().any(|code| *code == wanted) || is_number()
        }
    }
}

/// What the operator wrote is fit to be shown, if it is a word.
fn reason(sign: &ErrorSign, error: &ErrorAnswer) -> String {
    match sign {
        ErrorSign::Code(code) => word(code).unwrap_or_else(|| error.reason()),
        ErrorSign::Value {
            equals: Value::String(text),
            ..
        } if text.len() <= 48 => word(text).unwrap_or_else(|| as_code(text)),
        ErrorSign::Value {
            pointer,
            equals: Value::Number(number),
        } => {
            let name = pointer.rsplit('/').next().and_then(word);
            format!("{}_{number}", name.as_deref().unwrap_or("value"))
        }
        ErrorSign::Value { .. } => error.reason(),
    }
}
