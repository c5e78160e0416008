//! A document at an address the operator configured, fetched with the engine's own care: deadline, capped body, no
//! redirects, no proxies.

use std::time::Duration;

use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

use super::{
    address::AddressPolicy,
    settings::{EngineSettings, InvalidSettings},
    transport::{Call, NoAnswer, Transport},
};

/// One document.
pub struct Document {
    transport: Transport,
    url: Url,
    policy: AddressPolicy,
    deadline: Duration,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document")
            .field("url", &self.url.as_str())
            .finish_non_exhaustive()
    }
}

impl Document {
    /// The document at this address; `loopback`: whether `http` to this machine is accepted.
    ///
    /// # Errors
    /// The HTTP client cannot be built.
    pub fn new(url: Url, loopback: bool, deadline: Duration) -> Result<Self, InvalidSettings> {
        // The application's own addresses may well be on the intranet.
        let policy = AddressPolicy {
            loopback,
            private: true,
        };
        Ok(Self {
            transport: Transport::new(&EngineSettings::default(), [policy])?,
            url,
            policy,
            deadline,
        })
    }

    /// Fetches it.
    ///
    /// # Errors
    /// Why there is none, in a word.
    pub async fn fetch(&self) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let call = Call::get(self.url.clone(), self.policy);
        match self.transport.send(call, Instant::now() + self.deadline).await {
            Ok(answer) if answer.cut.is_some() => {
                Err(answer.cut.map_or("cut", super::transport::Cut::reason))
            }
            Ok(answer) if !answer.status.is_success() => Err("refused"),
            Ok(answer) => Ok(answer.body),
            Err(NoAnswer::NeverLeft(reason) | NoAnswer::MayHaveBeenDone(reason)) => Err(reason),
        }
    }
}
