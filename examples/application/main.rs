//! The example application on its own, beside an OAuth Manager that runs already.
//!
//! ```text
//! oauth-manager clients create example-application --sessions
//! MANAGER=https://oauth.example.com CREDENTIAL=oms_… LISTEN=127.0.0.1:8004 cargo run --example application
//! ```
//!
//! Development mode (`cargo run -- dev`) brings it along.

mod application;

use std::{env, time::Duration};

use application::Application;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:8004".into());
    let manager = env::var("MANAGER").unwrap_or_else(|_| "http://127.0.0.1:8002".into());
    let _ = rustls::crypto::ring::default_provider().install_default();
    let application = Application {
        manager: manager.parse()?,
        credential: env::var("CREDENTIAL")
            .map_err(|_| "CREDENTIAL is the application's, made with --sessions")?,
        own: format!("http://{listen}").parse()?,
        everybody_is: None,
        http: reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .build()?,
        logins: Default::default(),
    };
    let listener = tokio::net::TcpListener::bind(&listen).await?;
    println!("http://{listen}");
    application.serve(listener).await;
    Ok(())
}
