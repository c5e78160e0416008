//! What an account may be used for, each with its switch.

use maud::{Markup, html};
use oauth_manager_actors::{
    domain::{
        feature::{FeatureKey, FeatureSpec, FeatureStatus},
        integration::{IntegrationView, Status},
        provider::Provider,
        session::Session,
    },
    handle::SwitchedOff,
};

use super::{
    connections::{ConnectionsPage, csrf_field},
    layout,
    words::{self, account_name},
};

/// As many that are off are shown with their words; more are folded away.
const OFF_UNFOLDED_MAX: usize = 2;

/// Whether the provider grants all that this feature needs, so that it can be switched on without asking there.
pub(super) fn is_granted(feature: &FeatureSpec, view: &IntegrationView) -> bool {
    feature.missing_scopes(&view.scopes).is_empty()
}

impl ConnectionsPage<'_> {
    /// What is on, and what is off although the provider allows it.
    pub(super) fn features(
        &self,
        provider: Option<&std::sync::Arc<Provider>>,
        view: &IntegrationView,
    ) -> Markup {
        let is_off = |feature: &&FeatureSpec| {
            is_granted(feature, view) && !view.features.iter().any(|state| state.key == feature.key)
        };
        let specs = provider.map_or(&[][..], |provider| &provider.features);
        let off: Vec<_> = specs
            .iter()
            .filter(|_| view.status != Status::ReauthRequired)
            .filter(is_off)
            .collect();
        html! {
            @if !view.features.is_empty() {
                ul.plain {
                    @for state in &view.features {
                        @let spec = provider.and_then(|provider| provider.feature(&state.key));
                        li {
                            (spec.map_or(state.key.as_str(), |spec| spec.display_name.as_str())) ": "
                            strong.(words::feature_class(state.status)) { (words::feature(state.status)) }
                            @if let Some(spec) = spec { (self.switch(view, spec, false)) }
                        }
                    }
                }
            }
            @if !off.is_empty() {
                details open[off.len() <= OFF_UNFOLDED_MAX] {
                    summary { "Switched off (" (off.len()) ")" }
                    ul.plain { @for spec in off { (self.off(view, spec)) } }
                }
            }
        }
    }

    fn off(&self, view: &IntegrationView, spec: &FeatureSpec) -> Markup {
        let state = FeatureStatus::Inactive;
        html! {
            li {
                (spec.display_name) ": " strong.(words::feature_class(state)) { (words::feature(state)) }
                (self.switch(view, spec, true))
                // Switching it on is agreeing to this.
                @for words in spec.words() { p.soft.small { (words) } }
            }
        }
    }

    fn switch(&self, view: &IntegrationView, feature: &FeatureSpec, on: bool) -> Markup {
        let (value, words) = if on {
            ("on", "Switch on")
        } else {
            ("off", "Switch off")
        };
        html! {
            form method="post" action="/connections/features" {
                (csrf_field(&self.visit))
                input type="hidden" name="integration_id" value=(view.id);
                input type="hidden" name="feature" value=(feature.key);
                button.quiet type="submit" name="switch" value=(value)
                    aria-label={ (words) ": " (feature.display_name) } { (words) }
            }
        }
    }
}

/// A feature is off: what that ended, and what it did not.
pub(crate) fn off(
    session: &Session,
    provider: &Provider,
    feature: &FeatureKey,
    switched: &SwitchedOff,
) -> Markup {
    let spec = provider.feature(feature);
    let what = spec.map_or(feature.as_str(), |spec| spec.display_name.as_str());
    let name = &provider.display_name;
    layout::page(
        Some(session),
        "Switched off",
        html! {
            h1 { "Switched off" }
            div.card role="status" {
                p { strong { (name) ": " bdi { (account_name(&switched.integration)) } } }
                p { "The application can no longer use this account for: " (what) "." }
                @if !switched.still_granted.is_empty() {
                    p.soft {
                        (name) " still allows it, because it is not taken back there piece by piece. To end it at " (name)
                        " too, disconnect the account; that ends everything else it is used for as well."
                    }
                    p.soft.small { "What " (name) " still allows: " (switched.still_granted.join(", ")) }
                }
                div.row { a.button href="/connections" { "Back to your connections" } }
            }
        },
    )
}
