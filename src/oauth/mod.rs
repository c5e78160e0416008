//! The provider engine: authorization URLs, code exchange, refresh, revocation and identity, at any OAuth 2 provider.
//!
//! [`Engine`] fulfils the port [`OAuth`](oauth_manager_actors::ports::oauth::OAuth). A provider is a table of facts
//! (`declaration`) with a dialect where it truly differs (`google`, `youtube`, `microsoft`, `notion`,
//! `oidc`, `oauth2`). One call goes: `engine` finds the `registration`, `token_request` writes the request,
//! `transport` sends it once, `token_answer` reads a success and `classify` everything else; `identity` finds out
//! whose tokens they are. What errors mean is in `error_words` (common to all), in each dialect, in `microsoft_errors`, and
//! before all of them in what the operator declared (`declared_errors`).
//!
//! The crates `oauth2` and `openidconnect` are not used, on purpose. Their parser refuses a whole answer for one odd
//! member (`"expires_in": "3600"`), and with it loses a refresh token that the provider has already rotated; their error
//! carries the raw body, tokens included, and prints it; and Notion's JSON bodies cannot be expressed. ID tokens are
//! verified by `jose`, which reads users' JWTs too.
//!
//! Nothing here logs, `problems` excepted: a failure is returned and logged once, where it is handled.

mod address;
mod authorize;
mod catalogue;
mod classify;
mod client_secrets;
mod content_coding;
mod declaration;
mod declared_errors;
mod discovery;
mod document;
mod engine;
mod error_answer;
mod error_words;
mod exchange;
mod feature_override;
mod google;
mod id_token;
mod identity;
mod json;
mod lifetime;
mod lookup;
mod metadata;
mod microsoft;
mod microsoft_errors;
mod notion;
mod oauth2;
mod oidc;
mod probe;
mod problems;
mod refresh;
mod registration;
mod revoke;
mod salvage;
pub mod settings;
mod token_answer;
mod token_request;
mod token_response;
mod transport;
mod youtube;

#[cfg(test)]
mod corpus_tests;
#[cfg(test)]
mod ledger_tests;
#[cfg(test)]
pub(crate) mod testing;

pub use document::Document;
pub use engine::Engine;
pub use settings::{EngineSettings, ProviderKind, ProviderSettings};
