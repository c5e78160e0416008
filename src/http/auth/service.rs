//! Services, by their credential (`oms_…`). Whether it holds is the system's word; here only its form is looked at, so
//! that nonsense costs nothing.

use std::sync::Arc;

use oauth_manager_actors::domain::{client::ServiceClient, secret::ServiceCredential};

use crate::http::{Api, problem::Problem};

/// Longer than any credential we make.
const CREDENTIAL_CHARS_MAX: usize = 256;

/// The client with this credential.
pub(super) async fn client(api: &Api, credential: &str) -> Result<Arc<ServiceClient>, Problem> {
    let credential =
        read(credential).ok_or_else(|| Problem::unauthenticated("this is not a service credential"))?;
    Ok(api.manager.authenticate_service(&credential).await?)
}

/// What has the form of one of ours.
pub(super) fn read(credential: &str) -> Option<ServiceCredential> {
    let safe = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    let is_one = credential.len() <= CREDENTIAL_CHARS_MAX && credential.bytes().all(safe);
    is_one.then(|| ServiceCredential::new(credential))
}
