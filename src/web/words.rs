//! How states are told to a user: what works, and whose move it is.

use oauth_manager_actors::domain::{
    account::Account,
    feature::FeatureStatus,
    integration::{IntegrationView, Status},
    reason::WhoMustAct,
};

/// A state in words.
pub(super) struct Told {
    /// Its colour; the words say the same without it.
    pub(super) class: &'static str,
    /// Two or three words.
    pub(super) state: &'static str,
    /// A sentence or two: what it means, and who must act.
    pub(super) meaning: String,
    /// Whether connecting again would help.
    pub(super) reconnect: bool,
}

impl Told {
    /// What needs somebody comes first.
    pub(super) fn rank(&self) -> u8 {
        match self.class {
            "bad" => 0,
            "warn" => 1,
            _ => 2,
        }
    }
}

/// How an account stands. The provider is called by its name: "provider" is a word of ours.
pub(super) fn account(view: &IntegrationView, provider: &str) -> Told {
    let lacks_something = view
        .features
        .iter()
        .any(|feature| feature.status == FeatureStatus::MissingScopes);
    match (view.status, view.who_must_act) {
        (Status::Active, _) if lacks_something => Told {
            class: "warn",
            state: "Works in part",
            meaning: format!("{provider} allows only a part of what you chose. The rest is marked below; connect again to allow it."),
            reconnect: true,
        },
        (Status::Active, Some(WhoMustAct::User)) => Told {
            class: "warn",
            state: "Works, but not for long",
            meaning: format!("{provider} ends this connection soon. Connect again now and nothing will be interrupted."),
            reconnect: true,
        },
        (Status::Active, _) => Told {
            class: "good",
            state: "Works",
            meaning: "Connected and up to date. There is nothing for you to do.".into(),
            reconnect: false,
        },
        (Status::Pending, _) => Told {
            class: "warn",
            state: "Being connected",
            meaning: "This takes a moment. Reload the page to see how it went.".into(),
            reconnect: false,
        },
        (Status::Degraded, _) => Told {
            class: "warn",
            state: "Having trouble",
            meaning: format!("{provider} did not answer as it should. We keep trying; there is nothing for you to do."),
            reconnect: false,
        },
        (Status::ReauthRequired, _) => Told {
            class: "bad",
            state: "Needs you",
            meaning: format!("{provider} no longer accepts this connection. Connect again to go on using it."),
            reconnect: true,
        },
        (Status::Paused, Some(WhoMustAct::Admin)) => Told {
            class: "bad",
            state: "Needs your administrator",
            meaning: format!("An administrator of your organisation must allow this connection at {provider}."),
            reconnect: false,
        },
        (Status::Paused, _) => Told {
            class: "warn",
            state: "Paused",
            meaning: "Something is wrong on our side and we must mend it. Your connection is kept; there is nothing for you to do.".into(),
            reconnect: false,
        },
        (Status::Revoked, _) => Told {
            class: "soft",
            state: "Disconnected",
            meaning: "This account is no longer used.".into(),
            reconnect: false,
        },
    }
}

/// How a feature stands.
pub(super) fn feature(status: FeatureStatus) -> &'static str {
    match status {
        FeatureStatus::Active => "on",
        FeatureStatus::Inactive => "off",
        FeatureStatus::MissingScopes => "not allowed yet",
        FeatureStatus::ConsentRequired => "asks for your consent again",
        FeatureStatus::ReauthRequired => "waiting",
    }
}

/// The colour that goes with it.
pub(super) fn feature_class(status: FeatureStatus) -> &'static str {
    match status {
        FeatureStatus::Active => "good",
        FeatureStatus::Inactive => "soft",
        FeatureStatus::MissingScopes | FeatureStatus::ConsentRequired => "warn",
        FeatureStatus::ReauthRequired => "soft",
    }
}

/// Longer names and addresses are cut: they are the provider's text, and nobody reads three hundred letters.
const SHOWN_CHARS_MAX: usize = 80;

/// An account's name as its owner knows it.
pub(super) fn account_name(view: &IntegrationView) -> String {
    name_of(&view.account)
}

/// The same of an account that is not connected yet.
pub(super) fn name_of(account: &Account) -> String {
    let said = [account.name.as_deref(), account.email.as_deref()];
    let name = said.into_iter().flatten().find(|text| !text.trim().is_empty());
    shortened(name.unwrap_or(&account.id))
}

/// Its e-mail address, where that is not its name already.
pub(super) fn account_email(view: &IntegrationView) -> Option<String> {
    email_of(&view.account)
}

/// The same of an account that is not connected yet.
pub(super) fn email_of(account: &Account) -> Option<String> {
    let email = account.email.as_deref().map(shortened)?;
    (!email.is_empty() && email != name_of(account)).then_some(email)
}

fn shortened(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Why connecting did not work, and what to do now. Codes without words of their own share the last.
pub(super) fn failed(code: &str) -> &'static str {
    match code {
        "account_mismatch" => {
            "You chose another account than the one that was to be connected again. Try again and choose the same one, \
             or connect the other one as an account of its own."
        }
        "would_narrow" => {
            "This account is connected already, and the new consent would have allowed less than there is. Choose the account \
             under your connections and use it for more from there."
        }
        "browser_mismatch" => {
            "It was finished in another browser than it was begun in. Begin again, and stay in one browser."
        }
        "binding_mismatch" => {
            "It was begun by somebody else. Go back to the application, log in as yourself and begin again there."
        }
        "state_missing" | "state_unknown" | "state_used" | "expired" => {
            "The way back was too old, was used before or is not complete. Begin again; it takes a minute."
        }
        "confirmation_impossible" => {
            "It could not be made sure that it was you. Go back to the application, open your connections from there and try again."
        }
        "provider_paused" => {
            "Something is wrong on our side: it is not yours to mend, and trying again does not help until those who run this \
             service have set it right. They have been told."
        }
        _ => "Please try again. If it fails once more, wait a little or ask for help.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_letters() {
        assert_eq!(shortened(" Ada "), "Ada");
        assert_eq!(shortened(&"é".repeat(80)), "é".repeat(80));
        assert_eq!(shortened(&"é".repeat(300)), format!("{}…", "é".repeat(80)));
    }

    #[test]
    fn a_code_is_never_among_the_words() {
        for code in [
            "account_mismatch",
            "would_narrow",
            "browser_mismatch",
            "state_used",
            "<script>",
            "",
        ] {
            let words = failed(code);
            assert!(
                words.ends_with('.') && !words.contains('_') && !words.contains('<'),
                "{code}"
            );
        }
        assert!(failed("account_mismatch").contains("choose the same one"));
    }
}
