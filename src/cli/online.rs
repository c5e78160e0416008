//! Whether the configured providers are what the configuration says they are: asked of the providers themselves.

use oauth_manager_actors::{
    domain::{ids::ProviderKey, provider_problem::ProviderProblem},
    ports::oauth::OAuth as _,
};

use crate::oauth::Engine;

/// What was fetched of a provider and is as it should be, or what is the matter.
pub(super) type Tried = Result<&'static str, ProviderProblem>;

/// Tries every configured provider, all at once.
pub(super) async fn try_out(engine: &Engine) -> Vec<(ProviderKey, Tried)> {
    let tries = engine.providers().iter().map(async |provider| {
        let tried = engine.try_out(&provider.key).await.transpose()?;
        Some((provider.key.clone(), tried))
    });
    let tried = futures_util::future::join_all(tries).await;
    tried.into_iter().flatten().collect()
}

/// In one line.
pub(super) fn told(tried: &Tried) -> String {
    match tried {
        Ok(fetched) => (*fetched).to_owned(),
        Err(problem) => {
            let said = |label: &str, text: &Option<String>| {
                text.as_ref()
                    .map_or_else(String::new, |text| format!(", {label} {text}"))
            };
            let (found, expected) = (said("found", &problem.found), said("expected", &problem.expected));
            format!("{}{found}{expected}", problem.what)
        }
    }
}
