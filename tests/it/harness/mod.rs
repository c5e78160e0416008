//! A service of its own for each test: its own database, simulator and ports; one Postgres for all of them.

mod api;
mod browser;
pub mod canary;
pub mod database;
mod flow;
pub mod logs;
mod person;
mod pretender;
pub mod program;
mod proxy;
pub mod scale;
mod service;
pub mod serving;
mod wait;

pub use api::{Answer, Api, http_client};
pub use browser::{Browser, End};
pub use database::fresh as fresh_database;
pub use flow::{Flow, begin_on_our_page, connect, parameter};
pub use person::ConsentPage;
pub use pretender::{Pretender, Reply};
pub use program::{Folder, Program};
pub use proxy::Proxy;
pub use service::{
    AUTH_SECRET, ENCRYPTION_KEY, FORCED_REFRESH_INTERVAL, Service, ServiceOptions, confirm_session, enter,
    jwt, start_simulator, user_token,
};
pub use wait::eventually;

/// The application's address: browsers end there, and nobody listens.
pub const APPLICATION: &str = "http://127.0.0.1:9/done";
