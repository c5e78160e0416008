//! How many tokens a second are handed out over HTTP, against what the bare web framework answers with a constant body
//! of the same size, and against this service's own `/health`, which does nothing but pass the edge. All are processes of
//! their own; they are asked in turns, so that a noisy machine is as noisy for one as for the other. Then the same
//! hand-outs with and without another provider hanging.
//!
//! `cargo bench --bench handout -- [SECONDS] [ROUNDS]`
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark's own mistakes end it"
)]

mod bare;
#[expect(dead_code, unused_imports, reason = "the tests use all of it")]
#[path = "../../tests/it/harness/mod.rs"]
mod harness;
mod load;
mod neighbour;
mod service;

use std::time::Duration;

use load::{Load, Measured};

/// As many as 32 services with two connections each.
const CONNECTIONS: usize = 64;
/// Of each connection, where it is not about how much there can be: some ten thousand hand-outs a second.
const PAUSE: Duration = Duration::from_millis(4);
/// Before anything is counted.
const WARM_UP: Duration = Duration::from_secs(2);

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    match arguments.next().as_deref() {
        Some("bare") => bare::serve(arguments.next().unwrap().parse().unwrap()),
        seconds => {
            let seconds = seconds.map_or(5, |text| text.parse().expect("seconds"));
            let rounds = arguments.next().map_or(3, |text| text.parse().expect("rounds"));
            compare(Duration::from_secs(seconds), rounds);
        }
    }
}

fn compare(span: Duration, rounds: usize) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let service = runtime.block_on(service::start());
    let bare = bare::start(service.body_bytes, &service.request);
    let to_service = Load::new(service.address, service.request.clone(), CONNECTIONS);
    let to_edge = Load::new(service.address, service.constant_request.clone(), CONNECTIONS);
    let to_bare = Load::new(bare.address, bare.request.clone(), CONNECTIONS);
    to_bare.run(WARM_UP);
    to_service.run(WARM_UP);
    println!(
        "a body of {} bytes, {CONNECTIONS} connections, {rounds} rounds of {}s each",
        service.body_bytes,
        span.as_secs()
    );
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let (before, bare_before) = (processor_time(service.pid), processor_time(bare.pid));
        let bare_round = to_bare.run(span);
        let service_round = to_service.run(span);
        show("bare server", &bare_round, processor_time(bare.pid) - bare_before);
        show("hand-out", &service_round, processor_time(service.pid) - before);
        let before = processor_time(service.pid);
        let edge_round = to_edge.run(span);
        show("its /health", &edge_round, processor_time(service.pid) - before);
        ratios.push(service_round.per_second() / bare_round.per_second());
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "hand-out to bare server: {:.3} (median of {rounds})",
        ratios[rounds / 2]
    );
    let at_leisure = to_service.with_pauses(PAUSE);
    beside_a_neighbour_that_hangs(&runtime, &service, &at_leisure, span, rounds);
    runtime.block_on(service.stop());
}

/// The 99th percentiles, in turns.
fn beside_a_neighbour_that_hangs(
    runtime: &tokio::runtime::Runtime,
    service: &service::Running,
    to_service: &Load,
    span: Duration,
    rounds: usize,
) {
    let (mut calm, mut hanging) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        calm.push(to_service.run(span).quantile(0.99).as_secs_f64());
        runtime.block_on(neighbour::hang(&service.around));
        hanging.push(to_service.run(span).quantile(0.99).as_secs_f64());
        runtime.block_on(neighbour::recover(&service.around));
    }
    calm.sort_by(f64::total_cmp);
    hanging.sort_by(f64::total_cmp);
    let (calm, hanging) = (calm[rounds / 2], hanging[rounds / 2]);
    println!(
        "p99 while another provider hangs: {:.0} us against {:.0} us, {:+.1} % (medians of {rounds})",
        hanging * 1e6,
        calm * 1e6,
        (hanging / calm - 1.0) * 100.0
    );
}

fn show(name: &str, measured: &Measured, processor: Duration) {
    println!(
        "{name:>12}: {:>8.0}/s  p50 {:>5} us  p99 {:>5} us  {:.1} us of its processor time each",
        measured.per_second(),
        measured.quantile(0.5).as_micros(),
        measured.quantile(0.99).as_micros(),
        processor.as_secs_f64() * 1e6 / measured.answers as f64,
    );
}

/// User and system time of a process so far (`proc(5)`, fields 14 and 15, in ticks of 10 ms).
fn processor_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let field = |index: usize| {
        after_name
            .split_whitespace()
            .nth(index)
            .and_then(|text| text.parse::<u64>().ok())
    };
    Duration::from_millis(10 * (field(11).unwrap_or(0) + field(12).unwrap_or(0)))
}
