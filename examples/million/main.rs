//! A million connected accounts, most of them asleep: how soon the service is ready, what it holds in memory, and what
//! looking for due work costs.
//!
//! ```text
//! cargo build --release && cargo run --release --example million -- [ACCOUNTS] [AWAKE]
//! ```
//!
//! It brings its own Postgres, fills it, starts the built service on it as a process of its own and removes all of it.
#![expect(
    clippy::disallowed_methods,
    reason = "a program of its own: it prints what it measured, by the clock of the machine"
)]

mod service;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use oauth_manager::{
    dev::{
        postgres::{PostgresOptions, PrivatePostgres, ephemeral_dir},
        seed::{Seed, seed},
    },
    storage::{Storage, StorageOptions},
    vault::{Keyring, RingVault},
};
use oauth_manager_actors::{
    domain::{
        Timestamp,
        client::Policy,
        ids::{IntegrationId, NodeId},
        sealed::DigestPurpose,
    },
    ports::{
        store::{ClientStore as _, DispatchRequest, IntegrationStore as _},
        vault::Vault as _,
    },
};
use service::Service;
use zeroize::Zeroizing;

const HOUR: Duration = Duration::from_secs(3600);
/// How the service is to be when it is as it should be (design, section 10).
const READY_MAX: Duration = Duration::from_secs(2);
const RESIDENT_MAX_MIB: u64 = 1024;
/// Due work given at once, and how much of it there is in the last measurement.
const ROOM: u32 = 1_000;
const BACKLOG: i64 = 100_000;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |usual: usize| -> anyhow::Result<usize> {
        arguments.next().map_or(Ok(usual), |text| Ok(text.parse()?))
    };
    let (accounts, awake) = (number(1_000_000)?, number(50_000)?);
    let postgres = PrivatePostgres::start(PostgresOptions {
        data_dir: ephemeral_dir()?,
        ephemeral: true,
    })
    .await?;
    let measured = measure(&postgres, accounts, awake).await;
    postgres.stop().await?;
    measured
}

async fn measure(postgres: &PrivatePostgres, accounts: usize, awake: usize) -> anyhow::Result<()> {
    postgres.create_database("million").await?;
    let url = postgres.url("million");
    let storage = Storage::connect(StorageOptions {
        url: url.clone(),
        max_connections: 4,
        wait_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(60),
    })?;
    storage.migrate().await?;
    let keyring = Keyring::new(vec![(service::KEY_ID.into(), Zeroizing::new(service::KEY))])?;
    let vault = RingVault::new(keyring);
    let mut administration: url::Url = postgres.admin_url().parse()?;
    administration.set_path("million");
    let (client, connection) =
        tokio_postgres::connect(administration.as_str(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);

    let began = Instant::now();
    let plan = Seed {
        provider: "google".parse()?,
        accounts,
        scopes: vec!["openid".into()],
        features: Vec::new(),
        now: Timestamp::now(),
        token_life: HOUR * 24,
        due_first: HOUR * 12,
        due_last: HOUR * 24 * 90,
    };
    let ids = seed(&client, &vault, &plan).await?;
    println!(
        "seeded {accounts} accounts in {:.1} s",
        began.elapsed().as_secs_f64()
    );

    let credential = format!("oms_{}", uuid::Uuid::new_v4().simple());
    let digest = vault.digest(DigestPurpose::ServiceCredential, &credential);
    let policy = Policy {
        allow: vec!["*:*".parse()?],
        ..Policy::default()
    };
    storage.create("benchmark", &digest, &policy).await?;

    looks(&storage, "nothing due").await?;
    let service = Service::start(&url, &credential).await?;
    let ready = service.ready().await?;
    let resident = service.resident_mib()?;
    println!(
        "ready after {:.2} s (at most {:.0} s), {resident} MiB resident",
        ready.as_secs_f64(),
        READY_MAX.as_secs_f64(),
    );
    hand_out(&service, &ids, awake).await?;
    let woken = service.resident_mib()?;
    println!(
        "{woken} MiB resident with {awake} accounts awake (at most {RESIDENT_MAX_MIB} MiB): {:.1} KiB each",
        woken.saturating_sub(resident) as f64 * 1024.0 / awake.max(1) as f64,
    );
    service.stop().await?;

    let backlog =
        "UPDATE oauth_tokens SET next_refresh_at = now() - interval '1 minute' WHERE integration_id IN
        (SELECT integration_id FROM oauth_tokens LIMIT $1)";
    client.execute(backlog, &[&BACKLOG]).await.context("a backlog")?;
    let began = Instant::now();
    let given = looks(&storage, "a backlog").await?;
    println!(
        "{given} due accounts given out in batches of {ROOM}: {:.0} per second",
        given as f64 / began.elapsed().as_secs_f64()
    );
    anyhow::ensure!(ready <= READY_MAX, "not ready in time");
    anyhow::ensure!(woken <= RESIDENT_MAX_MIB, "too much memory");
    Ok(())
}

/// Asks for a token of each of the first accounts, over HTTP, so that they are awake.
async fn hand_out(service: &Service, ids: &[IntegrationId], awake: usize) -> anyhow::Result<()> {
    const CONNECTIONS: usize = 32;
    let began = Instant::now();
    let ids = &ids[..awake.min(ids.len())];
    let lanes = ids.chunks(ids.len().div_ceil(CONNECTIONS).max(1));
    let asked = lanes.map(async |lane| {
        for id in lane {
            service.token(id).await?;
        }
        anyhow::Ok(())
    });
    futures_util::future::try_join_all(asked).await?;
    println!(
        "{} sleeping accounts woken by a request each: {:.0} per second",
        ids.len(),
        ids.len() as f64 / began.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Looks for due work until there is none; how long looks take.
async fn looks(storage: &Storage, what: &str) -> anyhow::Result<usize> {
    const AT_LEAST: usize = 50;
    let request = DispatchRequest {
        provider: "google".parse()?,
        node: NodeId(uuid::Uuid::now_v7()),
        room: ROOM,
        hold: HOUR,
        overdue: Duration::ZERO,
    };
    let (mut took, mut total) = (Vec::new(), 0);
    loop {
        let began = Instant::now();
        let given = storage.dispatch(&request).await?.len();
        took.push(began.elapsed().as_secs_f64() * 1000.0);
        total += given;
        if given == 0 && took.len() >= AT_LEAST {
            break;
        }
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "a look for due work ({what}): median {:.2} ms, longest {:.2} ms",
        at(0.5),
        at(1.0)
    );
    Ok(total)
}
