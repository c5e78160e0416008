//! `authorize_params`, and what an authorization endpoint's own query may hold: never what the flow answers for.

use std::collections::BTreeMap;

use oauth_manager_actors::domain::reserved_parameter;

use super::endpoint::Endpoint;

/// Says of each parameter that cannot be given why not, under its key.
pub(super) fn validate(
    params: &BTreeMap<String, String>,
    endpoint: Option<&Endpoint>,
    add: &mut impl FnMut(&str, &str),
) {
    for (name, value) in params {
        if let Some(refusal) = reserved_parameter::refusal(name, value) {
            add(&format!("authorize_params.{name}"), refusal);
        }
    }
    // RFC 6749 section 3.1: the query stays, and no parameter may come twice.
    for (name, value) in endpoint.iter().flat_map(|endpoint| endpoint.url().query_pairs()) {
        if let Some(refusal) = reserved_parameter::refusal(&name, &value) {
            add(
                "authorization_endpoint",
                &format!("its query holds {name}, which {refusal}"),
            );
        }
    }
}
