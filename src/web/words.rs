//! How states are told to a user: what works, and whose move it is.

use oauth_manager_actors::domain::{
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
    /// A sentence: what it means, and who must act.
    pub(super) meaning: &'static str,
    /// Whether connecting again would help.
    pub(super) reconnect: bool,
}

/// How an account stands.
pub(super) fn account(view: &IntegrationView) -> Told {
    let lacks_something = view
        .features
        .iter()
        .any(|feature| feature.status == FeatureStatus::MissingScopes);
    match (view.status, view.who_must_act) {
        (Status::Active, _) if lacks_something => Told {
            class: "warn",
            state: "Works in part",
            meaning: "You did not allow everything that was asked for. What is missing is marked below; connect again to allow it.",
            reconnect: true,
        },
        (Status::Active, _) => Told {
            class: "good",
            state: "Works",
            meaning: "Connected and up to date. There is nothing for you to do.",
            reconnect: false,
        },
        (Status::Pending, _) => Told {
            class: "warn",
            state: "Being connected",
            meaning: "This takes a moment. Reload the page to see how it went.",
            reconnect: false,
        },
        (Status::Degraded, _) => Told {
            class: "warn",
            state: "Having trouble",
            meaning: "The provider did not answer as it should. We keep trying by ourselves; there is nothing for you to do.",
            reconnect: false,
        },
        (Status::ReauthRequired, _) => Told {
            class: "bad",
            state: "Needs you",
            meaning: "The provider no longer accepts this connection. Connect again to go on using it.",
            reconnect: true,
        },
        (Status::Paused, Some(WhoMustAct::Admin)) => Told {
            class: "bad",
            state: "Needs your administrator",
            meaning: "An administrator of your organisation must allow this connection at the provider.",
            reconnect: false,
        },
        (Status::Paused, _) => Told {
            class: "warn",
            state: "Paused",
            meaning: "Something is wrong on our side and we must mend it. Your connection is kept; there is nothing for you to do.",
            reconnect: false,
        },
        (Status::Revoked, _) => Told {
            class: "soft",
            state: "Disconnected",
            meaning: "This account is no longer used.",
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
        FeatureStatus::ReauthRequired => "waits for you to connect again",
    }
}

/// An account's name as its owner knows it.
pub(super) fn account_name(view: &IntegrationView) -> &str {
    let account = &view.account;
    account
        .name
        .as_deref()
        .or(account.email.as_deref())
        .unwrap_or(&account.id)
}
