//! What else could be connected, and what a connected account could be used for as well.

use maud::{Markup, html};
use oauth_manager_actors::domain::{
    feature::{FeatureKey, FeatureSpec, FeatureState, FeatureStatus},
    ids::{IntegrationId, ProviderKey},
    integration::{IntegrationView, Status},
    provider::Provider,
};

use super::connections::{ConnectionsPage, csrf_field};

/// A feature, and whether its box is ticked from the start.
type Choice<'p> = (&'p FeatureSpec, bool);

impl ConnectionsPage<'_> {
    /// What a working account is not used for yet.
    pub(super) fn more_features(&self, provider: &Provider, view: &IntegrationView) -> Markup {
        let unused: Vec<_> = provider
            .features
            .iter()
            .filter(|feature| !view.features.iter().any(|state| is_settled(state, feature)))
            .collect();
        if view.status != Status::Active || !provider.configured || unused.is_empty() {
            return html! {};
        }
        let wanted = |feature: &FeatureSpec| self.visit.session.features.contains(&feature.key);
        html! {
            details open[unused.iter().any(|feature| wanted(feature))] {
                summary { "Use it for more" }
                form method="post" action="/connections/connect" {
                    (self.connect_fields(&view.provider, Some(&view.id)))
                    fieldset {
                        legend { "What it may be used for as well" }
                        @for feature in &unused { (choice(feature, wanted(feature))) }
                    }
                    div.row { button type="submit" aria-describedby=(view.id) { "Go on to " (provider.display_name) } }
                }
            }
        }
    }

    /// What can be connected: what is not connected yet comes first, the rest is folded away.
    pub(super) fn offers(&self, is_connected: impl Fn(&ProviderKey) -> bool) -> Markup {
        let (connected, fresh): (Vec<_>, Vec<_>) = self
            .providers
            .iter()
            .filter(|provider| provider.configured)
            .partition(|provider| is_connected(&provider.key));
        html! {
            section aria-labelledby="more" {
                h2 #more { "Connect an account" }
                @for provider in &fresh {
                    article.card {
                        h3 { (provider.display_name) }
                        (self.offer(provider, &format!("Connect {}", provider.display_name)))
                    }
                }
                @for provider in &connected {
                    @let title = format!("Connect another {} account", provider.display_name);
                    details.card {
                        summary { h3 { (title) } }
                        (self.offer(provider, &title))
                    }
                }
                @if fresh.is_empty() && connected.is_empty() {
                    p.card.soft { "There is nothing to connect yet." }
                }
            }
        }
    }

    fn offer(&self, provider: &Provider, button: &str) -> Markup {
        let (first, others) = self.first_choices(provider);
        html! {
            form method="post" action="/connections/connect" {
                (self.connect_fields(&provider.key, None))
                @if !provider.features.is_empty() {
                    fieldset {
                        legend { "What it may be used for" }
                        @for (feature, suggested) in &first { (choice(feature, *suggested)) }
                        @if !others.is_empty() {
                            details {
                                summary { "More choices (" (others.len()) ")" }
                                @for (feature, suggested) in &others { (choice(feature, *suggested)) }
                            }
                        }
                    }
                }
                div.row { button type="submit" { (button) } }
            }
        }
    }

    /// What is shown at once, and what only on demand: nobody should have to scroll past ten boxes to reach the button.
    fn first_choices<'p>(&self, provider: &'p Provider) -> (Vec<Choice<'p>>, Vec<Choice<'p>>) {
        let all = provider.features.iter().map(|feature| {
            (
                feature,
                self.is_suggested(provider, &feature.key, feature.default),
            )
        });
        let (suggested, others): (Vec<_>, Vec<_>) = all.partition(|(_, suggested)| *suggested);
        if suggested.is_empty() || others.len() <= 2 {
            let all = suggested.into_iter().chain(others).collect();
            return (all, Vec::new());
        }
        (suggested, others)
    }

    /// What the application asked to offer first, or else the provider's default.
    fn is_suggested(&self, provider: &Provider, key: &FeatureKey, default: bool) -> bool {
        let wanted = &self.visit.session.features;
        let says_something = wanted.iter().any(|key| key.provider() == provider.key.as_str());
        if says_something {
            wanted.contains(key)
        } else {
            default
        }
    }

    /// The hidden fields of every form that leads to a provider.
    pub(super) fn connect_fields(
        &self,
        provider: &ProviderKey,
        integration: Option<&IntegrationId>,
    ) -> Markup {
        html! {
            (csrf_field(&self.visit))
            input type="hidden" name="provider" value=(provider);
            @if let Some(id) = integration { input type="hidden" name="integration_id" value=(id); }
        }
    }
}

/// Whether there is nothing to ask the user about this feature.
fn is_settled(state: &FeatureState, feature: &FeatureSpec) -> bool {
    state.key == feature.key && state.status != FeatureStatus::ConsentRequired
}

/// Beside the box stand the words that a consent to the feature is given to.
fn choice(feature: &FeatureSpec, ticked: bool) -> Markup {
    html! {
        label {
            input type="checkbox" name="feature" value=(feature.key) checked[ticked];
            span {
                (feature.display_name)
                @for words in feature.words() { br; span.soft.small { (words) } }
            }
        }
    }
}
