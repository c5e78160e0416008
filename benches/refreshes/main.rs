//! How many refreshes a second the service makes, end to end: account claimed, provider called over a socket, answer
//! sealed and committed with audit and outbox. The service, Postgres (which waits for its disk), the provider and whoever
//! wishes are processes of one machine.
//!
//! ```text
//! cargo bench --bench refreshes -- [SECONDS] [CONNECTIONS]      # both refresh classes: wished for, and fallen due at once
//! cargo bench --bench refreshes -- late [ACCOUNTS] [SECONDS]    # how late due work begins under a steady load
//! ```
//!
//! After each measurement the provider's count, the generations of all rows, the audit and the outbox must agree.
#![expect(
    clippy::disallowed_methods,
    reason = "a program of its own: it prints what it measured, by the clock of the machine"
)]

mod ground;
mod lateness;
mod load;
mod processors;
mod provider;
mod service;
mod wire;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ground::{Due, Ground, Seeded};
use lateness::Lateness;
use load::Load;
use processors::Processes;
use provider::Provider;
use service::{Class, Service};

/// Wished for before anything is counted.
const WARM_UP: usize = 4_000;
/// More accounts than can be refreshed in a second on the machines this is for.
const PER_SECOND_MAX: usize = 6_000;
const HOUR: Duration = Duration::from_secs(3600);
/// Longest a refresh may be late (design, section 10).
const LATE_MAX_SECONDS: f64 = 5.0;
/// Accounts are made at least this fast, so that none falls due before the service is there.
const SEEDED_PER_SECOND: f64 = 8_000.0;
const START: Duration = Duration::from_secs(5);

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let number = |index: usize, usual: usize| -> anyhow::Result<usize> {
        arguments.get(index).map_or(Ok(usual), |text| Ok(text.parse()?))
    };
    let runtime = tokio::runtime::Runtime::new()?;
    match arguments.first().map(String::as_str) {
        Some("provider") => provider::serve(arguments[1].parse()?),
        Some("late") => {
            let (accounts, seconds) = (number(1, 50_000)?, number(2, 120)?);
            runtime.block_on(late(accounts, Duration::from_secs(seconds as u64)))
        }
        _ => {
            let (seconds, connections) = (number(0, 15)?, number(1, 64)?);
            runtime.block_on(rates(seconds, connections))
        }
    }
}

async fn rates(seconds: usize, connections: usize) -> anyhow::Result<()> {
    let ground = Ground::start().await?;
    let folder = folder()?;
    for class in [Class::Safe, Class::SingleUse] {
        wished_for(&ground, class, seconds, connections, &folder).await?;
        fallen_due(&ground, class, seconds * 3_000, &folder).await?;
    }
    std::fs::remove_dir_all(&folder)?;
    ground.stop().await
}

/// Refreshes that somebody waits for, over HTTP, each of an account that sleeps.
async fn wished_for(
    ground: &Ground,
    class: Class,
    seconds: usize,
    connections: usize,
    folder: &Path,
) -> anyhow::Result<()> {
    let later = Due {
        first: HOUR,
        last: 2 * HOUR,
    };
    let accounts = WARM_UP + seconds * PER_SECOND_MAX;
    let name = format!("wished_{}", class.provider());
    let seeded = ground.seed(&name, class, accounts, &later, 4 * HOUR).await?;
    let provider = Provider::start(HOUR)?;
    let service = Service::start(&seeded.url, class, &provider, "10m", folder).await?;
    let load = Load {
        address: service.address,
        credential: &seeded.credential,
        connections,
    };
    load.run(&seeded.ids[..WARM_UP], 0, HOUR)?;
    let processes = processes(ground, &service, &provider)?;
    let (before, transactions) = (processes.spent(), seeded.transactions().await?);
    let measured = load.run(
        &seeded.ids[WARM_UP..],
        WARM_UP,
        Duration::from_secs(seconds as u64),
    )?;
    let spent = processes.spent();
    println!(
        "{class:?}, wished for over {connections} connections: {:.0} refreshes/s  p50 {:.1} ms  p99 {:.1} ms  ({} in {:.1} s)",
        measured.per_second(),
        measured.quantile(0.5).as_secs_f64() * 1e3,
        measured.quantile(0.99).as_secs_f64() * 1e3,
        measured.refreshed,
        measured.took.as_secs_f64(),
    );
    println!("    {}", spent.each_since(&before, measured.refreshed as u64));
    service.stop().await?;
    println!(
        "    transactions of one: {:.2}",
        (seeded.transactions().await? - transactions) as f64 / measured.refreshed as f64
    );
    settle(&seeded, &provider, folder).await
}

/// Refreshes of accounts that fall due at one moment: how fast a backlog drains.
async fn fallen_due(ground: &Ground, class: Class, accounts: usize, folder: &Path) -> anyhow::Result<()> {
    let due_in = START + Duration::from_secs_f64(accounts as f64 / SEEDED_PER_SECOND);
    let due = Due {
        first: due_in,
        last: due_in,
    };
    let due_at = Instant::now() + due_in;
    let name = format!("due_{}", class.provider());
    let seeded = ground.seed(&name, class, accounts, &due, 4 * HOUR).await?;
    let provider = Provider::start(HOUR)?;
    let service = Service::start(&seeded.url, class, &provider, "10m", folder).await?;
    anyhow::ensure!(
        Instant::now() < due_at,
        "they were due before the service was there"
    );
    let processes = processes(ground, &service, &provider)?;
    while provider.tally()?.calls == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (began, before) = (Instant::now(), processes.spent());
    let transactions = seeded.transactions().await?;
    while provider.tally()?.calls < accounts as u64 {
        anyhow::ensure!(began.elapsed() < HOUR / 4, "they are not refreshed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (took, spent) = (began.elapsed(), processes.spent());
    println!(
        "{class:?}, {accounts} fallen due at once: {:.0} refreshes/s ({:.1} s, the first {:.2} s after they were due)",
        accounts as f64 / took.as_secs_f64(),
        took.as_secs_f64(),
        (began - due_at).as_secs_f64(),
    );
    println!("    {}", spent.each_since(&before, accounts as u64));
    service.stop().await?;
    println!(
        "    transactions of one: {:.2}",
        (seeded.transactions().await? - transactions) as f64 / accounts as f64
    );
    settle(&seeded, &provider, folder).await
}

/// How late refreshes begin while they fall due evenly and all the time. An hour's token falls due 42 to 54 minutes after
/// it was issued; these live for a minute and fall due after 18 to 30 seconds, so as many accounts make 120 times the load.
async fn late(accounts: usize, span: Duration) -> anyhow::Result<()> {
    const LIFE: Duration = Duration::from_secs(60);
    const ROUND: Duration = Duration::from_secs(24);
    let ground = Ground::start().await?;
    let folder = folder()?;
    for (class, idle_after, who) in [
        (Class::Safe, "10m", "awake after the first round"),
        (Class::SingleUse, "10m", "awake after the first round"),
        (Class::Safe, "1s", "asleep between refreshes"),
    ] {
        let first = START + Duration::from_secs_f64(accounts as f64 / SEEDED_PER_SECOND);
        let due = Due {
            first,
            last: first + ROUND,
        };
        let due_at = Instant::now() + first;
        let name = format!("late_{}_{idle_after}", class.provider());
        let seeded = ground.seed(&name, class, accounts, &due, first + LIFE).await?;
        let provider = Provider::start(LIFE)?;
        let service = Service::start(&seeded.url, class, &provider, idle_after, &folder).await?;
        anyhow::ensure!(
            Instant::now() < due_at,
            "they were due before the service was there"
        );
        let processes = processes(&ground, &service, &provider)?;
        tokio::time::sleep(due_at.saturating_duration_since(Instant::now())).await;
        let (calls, before) = (provider.tally()?.calls, processes.spent());
        tokio::time::sleep(span).await;
        let (calls, spent) = (provider.tally()?.calls - calls, processes.spent());
        let lateness = Lateness::read(&service.metrics().await?);
        println!(
            "{class:?}, {accounts} accounts, {who}: {:.0} refreshes/s for {:.0} s; of {} that were due, half began at most \
             {} s late, 99 % at most {} s, all at most {} s; {} later than {LATE_MAX_SECONDS} s",
            calls as f64 / span.as_secs_f64(),
            span.as_secs_f64(),
            lateness.count(),
            lateness.quantile_at_most(0.5),
            lateness.quantile_at_most(0.99),
            lateness.quantile_at_most(1.0),
            lateness.later_than(LATE_MAX_SECONDS),
        );
        println!("    {}", spent.each_since(&before, calls));
        service.stop().await?;
        settle(&seeded, &provider, &folder).await?;
    }
    std::fs::remove_dir_all(&folder)?;
    ground.stop().await
}

fn processes(ground: &Ground, service: &Service, provider: &Provider) -> anyhow::Result<Processes> {
    Ok(Processes {
        service: service.pid,
        provider: provider.pid,
        postmaster: ground.postmaster()?,
    })
}

/// Every call is a generation, an audit row and an event, and no refresh token was presented twice.
async fn settle(seeded: &Seeded, provider: &Provider, folder: &Path) -> anyhow::Result<()> {
    let (tally, books) = (provider.tally()?, seeded.books().await?);
    let calls = i64::try_from(tally.calls)?;
    let agree = [books.generations, books.audited, books.events] == [calls; 3];
    anyhow::ensure!(
        agree && tally.repeats == 0,
        "{calls} calls, {} of them repeated; {books:?}; {}",
        tally.repeats,
        service::log_tail(folder)
    );
    Ok(())
}

/// For the service's configuration, log and spool.
fn folder() -> anyhow::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("oauth-manager-refreshes-{}", std::process::id()));
    std::fs::create_dir_all(&path)?;
    Ok(path)
}
