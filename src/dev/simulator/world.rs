//! Everything the simulated providers know, behind one lock that is never held across an await.

use std::collections::HashMap;
use std::sync::Arc;

use super::account::{self, Account};
use super::archive::{ClientSecret, Restored};
use super::clock::Millis;
use super::config::{Client, Settings, SimulatorConfig};
use super::fault::FaultPlan;
use super::keys::KeyRotation;
use super::ledger::Ledger;
use super::provider::Provider;
use super::recorder::Recorder;
use super::request::Request;

#[derive(Debug)]
pub struct World {
    pub settings: Settings,
    pub ledger: Ledger,
    pub faults: FaultPlan,
    pub recorder: Recorder,
    pub rotation: KeyRotation,
    /// How often it was written down.
    pub states: u64,
    clients: Vec<Client>,
    accounts: HashMap<Provider, Vec<Arc<Account>>>,
}

/// One request on its way through a dialect.
#[derive(Debug)]
pub struct Call<'a> {
    pub provider: Provider,
    /// Microsoft: the tenant of the path. Elsewhere empty.
    pub tenant: &'a str,
    pub request: &'a Request,
    pub now: Millis,
    /// Where the simulator is reached, without a slash at the end.
    pub base: &'a str,
    pub shaping: &'a Shaping,
}

/// How faults change the work that an endpoint does.
#[derive(Debug, Default)]
pub struct Shaping {
    pub scopes_withheld: Vec<String>,
    pub scopes_added: Vec<String>,
    pub account_instead: Option<String>,
}

impl Shaping {
    /// Scopes may be named in full or by their last part.
    pub fn withholds(&self, scope: &str) -> bool {
        self.scopes_withheld.iter().any(|name| {
            scope.eq_ignore_ascii_case(name) || scope.rsplit('/').next().is_some_and(|last| last == name)
        })
    }

    /// `scopes` without the withheld and with the added ones.
    pub fn apply(&self, scopes: impl IntoIterator<Item = String>) -> Vec<String> {
        let kept = scopes.into_iter().filter(|scope| !self.withholds(scope));
        kept.chain(self.scopes_added.iter().cloned()).collect()
    }
}

impl World {
    pub fn new(config: SimulatorConfig) -> Self {
        let mut accounts: HashMap<_, _> = Provider::ALL
            .into_iter()
            .map(|provider| (provider, account::residents(provider)))
            .collect();
        for (provider, account) in config.accounts {
            accounts.entry(provider).or_default().push(Arc::new(account));
        }
        let mut clients = config.clients;
        for provider in Provider::ALL {
            if !clients.iter().any(|client| client.provider == provider) {
                clients.push(Client::built_in(provider));
            }
        }
        Self {
            settings: config.settings,
            ledger: Ledger::default(),
            faults: FaultPlan::default(),
            recorder: Recorder::new(config.recorded_requests_max),
            rotation: KeyRotation::default(),
            states: 0,
            clients,
            accounts,
        }
    }

    pub fn client(&self, provider: Provider, client_id: &str) -> Option<&Client> {
        self.clients
            .iter()
            .find(|client| client.provider == provider && client.client_id == client_id)
    }

    /// The first application registered at `provider`.
    pub fn first_client(&self, provider: Provider) -> Option<&Client> {
        self.clients.iter().find(|client| client.provider == provider)
    }

    /// Changes the secret, as an operator would at the provider's console.
    pub fn set_client_secret(&mut self, provider: Provider, secret: &str) {
        for client in self
            .clients
            .iter_mut()
            .filter(|client| client.provider == provider)
        {
            secret.clone_into(&mut client.client_secret);
        }
    }

    pub fn client_secrets(&self) -> Vec<ClientSecret> {
        let secret = |client: &Client| ClientSecret {
            provider: client.provider,
            client_id: client.client_id.clone(),
            client_secret: client.client_secret.clone(),
        };
        self.clients.iter().map(secret).collect()
    }

    /// What an earlier run knew. Applications that are no longer registered stay so.
    pub fn restore(&mut self, restored: Restored) {
        self.ledger = restored.ledger;
        for secret in restored.clients {
            let known = self.clients.iter_mut().find(|client| {
                (client.provider, client.client_id.as_str()) == (secret.provider, secret.client_id.as_str())
            });
            if let Some(client) = known {
                client.client_secret = secret.client_secret;
            }
        }
    }

    pub fn accounts(&self, provider: Provider) -> &[Arc<Account>] {
        self.accounts.get(&provider).map_or(&[], Vec::as_slice)
    }

    /// The account `hint` means; an unknown name moves in. Without a hint: the first.
    pub fn account(&self, provider: Provider, hint: Option<&str>) -> Arc<Account> {
        let accounts = self.accounts(provider);
        let known = match hint {
            Some(hint) => accounts.iter().find(|account| account.answers_to(hint)),
            None => accounts.first(),
        };
        known.cloned().unwrap_or_else(|| {
            let name = hint
                .and_then(|hint| hint.split('@').next())
                .filter(|name| !name.is_empty());
            Arc::new(account::newcomer(provider, name.unwrap_or("newcomer")))
        })
    }

    /// How long an access token lives, in milliseconds.
    pub fn access_token_lifetime(&self, provider: Provider) -> Option<Millis> {
        let own = match provider {
            Provider::Google | Provider::YouTube => 3599,
            // Microsoft draws a lifetime between one hour and one and a half.
            Provider::Microsoft => 3599 + i64::from(super::random::below(1801)),
            Provider::Oidc => 3600,
            Provider::Notion => return None,
        };
        match self.settings.access_token_lifetime {
            Some(lifetime) => i64::try_from(lifetime.as_millis()).ok(),
            None => Some(own * 1000),
        }
    }
}
