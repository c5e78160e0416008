//! What others notice of one who takes all they can: the 99th percentile of hand-outs, refreshes and connect links of
//! everybody else, quiet and under each attack. The service is a process that may open 1024 files.
//!
//! `cargo bench --bench limits -- [SECONDS]`
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark's own mistakes end it"
)]

mod attack;
#[expect(dead_code, unused_imports, reason = "the tests use all of it")]
#[path = "../../tests/it/harness/mod.rs"]
mod harness;
mod others;
mod service;

use std::time::Duration;

use attack::Attack;
use others::{KINDS, Others};

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let seconds = arguments.next().map_or(5, |text| text.parse().expect("seconds"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(compare(Duration::from_secs(seconds)));
}

async fn compare(span: Duration) {
    let service = service::start().await;
    let others = Others::of(&service).await;
    // Before anything is counted.
    others.measure(span / 2).await;
    for attack in Attack::ALL {
        let quiet = others.measure(span).await;
        let attacking = attack.begin(&service).await;
        let attacked = others.measure(span).await;
        drop(attacking);
        for (kind, name) in KINDS.iter().enumerate() {
            let (quiet, attacked) = (quiet.p99(kind), attacked.p99(kind));
            println!(
                "{:>20}: {name:>9} p99 {:>6} us quiet, {:>6} us under attack: x {:.2}",
                attack.name(),
                quiet.as_micros(),
                attacked.as_micros(),
                attacked.as_secs_f64() / quiet.as_secs_f64()
            );
        }
    }
    service.stop().await;
}
