//! The catalogue: providers, their features and scopes.

use std::sync::Arc;

use oauth_manager_actors::domain::feature::{FeatureKey, ScopeSpec};
use serde::Serialize;

use crate::http::{
    Api,
    auth::authenticate,
    catalogue::Catalogue,
    endpoint::{Endpoint, READ, Route, as_json, route},
    problem::Answer,
    reply,
    request_context::Call,
};

static LIST: Endpoint = Endpoint {
    template: "/api/v1/oauth/providers",
    methods: READ,
};
static SCOPES: Endpoint = Endpoint {
    template: "/api/v1/oauth/providers/{provider}/scopes",
    methods: READ,
};

/// Every provider.
pub(crate) fn list(api: &Arc<Api>) -> Route {
    route(api, &LIST, as_json, list_providers)
}

async fn list_providers(api: Arc<Api>, call: Call) -> Answer {
    authenticate(&api, &call).await?;
    let providers: Vec<_> = api.manager.providers().iter().map(AsRef::as_ref).collect();
    reply::whole_list(&providers)
}

/// The scopes of one provider, each with the feature it belongs to.
pub(crate) fn scopes(api: &Arc<Api>) -> Route {
    route(api, &SCOPES, as_json, list_scopes)
}

#[derive(Serialize)]
struct ScopeItem<'a> {
    feature: &'a FeatureKey,
    #[serde(flatten)]
    spec: &'a ScopeSpec,
}

async fn list_scopes(api: Arc<Api>, call: Call) -> Answer {
    authenticate(&api, &call).await?;
    let provider = Catalogue(api.manager.providers()).provider_of_path(call.capture(0))?;
    let items: Vec<_> = provider
        .features
        .iter()
        .flat_map(|feature| {
            feature.scopes.iter().map(|spec| ScopeItem {
                feature: &feature.key,
                spec,
            })
        })
        .collect();
    reply::whole_list(&items)
}
