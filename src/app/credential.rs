//! Credentials of service clients.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_manager_actors::{domain::secret::ServiceCredential, ports::rng::Rng as _};

use super::rng::SystemRng;

/// A new credential: 256 random bits; its prefix says what it is to whoever finds one.
pub fn new_credential() -> ServiceCredential {
    let mut bytes = [0; 32];
    SystemRng::default().fill(&mut bytes);
    ServiceCredential::new(format!("oms_{}", URL_SAFE_NO_PAD.encode(bytes)))
}
