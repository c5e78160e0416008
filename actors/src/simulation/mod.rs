//! Deterministic simulation: the whole actor system, several nodes of it, on a database that tears commits, providers of
//! every class that lose answers, processes that die or stand still at any step, and hours that pass in milliseconds. All
//! chance comes from one seed; a seed that finds a broken promise tells the same story each time it is asked.
//!
//! ```text
//! OAUTH_MANAGER_SEED=1234    cargo test -p oauth-manager-actors --lib simulation   one world, with everything that happened in it
//! OAUTH_MANAGER_SEEDS=100000 cargo test -p oauth-manager-actors --lib simulation   that many worlds
//! ```
//!
//! - `swarm.rs`: what a seed decides beforehand: how many nodes and users, which faults there are at all, how often.
//! - `world.rs`: connect, chaos, calm, and then everything must be well. `people.rs`: what users and services do.
//! - `node.rs`, `post.rs`, `line.rs`, `way.rs`, `signals.rs`, `pulse.rs`: one run of the real system and its ports. A node dies at its ports:
//!   whatever it does after that reaches nobody, which is what SIGKILL looks like from outside, between any two steps.
//! - `land.rs`: the database and the weather. `history.rs`: what happened. `checker/`: what must not happen.
//!
//! # What the checker holds against it
//!
//! | promise | seen in |
//! |---|---|
//! | a refresh token is presented once, and once more only as the protocol's probe (near the access token's end) or, class `grace`, within its window; class `safe` at will | providers' books |
//! | no call without a stored, living claim on exactly that refresh token | providers' books, rows |
//! | one probe per interval while the provider refuses our client or has trouble; no call before the time it named, from any node that could know | calls |
//! | generations only grow; a living claim keeps others off; nothing but the user brings back what was revoked; an operator's fault touches no account | rows |
//! | nobody is asked to reconnect while the grant lives; class `safe` loses no grant; class `grace` none whose answer could be asked for again; a grant lost to an unknown outcome says so; an answer that reached us is not lost, though its node was killed (the spool), or its disk is full (memory) | rows, books |
//! | a defect in an actor or in its effect costs that actor one restart, and nobody a refresh token | supervisors, books |
//! | what is handed out was stored before, is the user's own, lives as long as was asked, is not revoked, and is on record | hand-outs |
//! | when all faults are over, every account whose grant lives is active, and every node serves it | all |
//!
//! What is not replayed to the letter: ids (UUIDv7) and the order in which ractor ends the children of an actor that ends.
//! Neither decides anything here; `the_same_seed_is_the_same_story` compares the histories.

mod checker;
mod dice;
mod history;
mod land;
mod line;
mod node;
mod people;
mod post;
mod pulse;
mod signals;
mod swarm;
mod way;
mod world;

use std::collections::BTreeMap;

/// Worlds of the ordinary test run.
const SEEDS: u64 = 1_000;
/// Lines of the history that a failure shows.
const TAIL: usize = 100;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What is kept of a world: little, so that a hundred thousand fit.
struct Lived {
    seed: u64,
    events: usize,
    violation: Option<(String, String)>,
}

impl Lived {
    fn of(seed: u64, verdict: world::Verdict) -> Self {
        let tail = |violation| (violation, verdict.history.tail(TAIL));
        Self {
            seed,
            events: verdict.history.len(),
            violation: verdict.violation.map(tail),
        }
    }
}

/// Lives all of them, on as many threads as there are processors: each world has a runtime of its own.
fn live_all(seeds: u64) -> Vec<Lived> {
    let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64);
    let mut lived: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || -> Vec<_> {
                    let mine = (thread..seeds).step_by(threads as usize);
                    mine.map(|seed| Lived::of(seed, world::live(seed))).collect()
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect()
    });
    lived.sort_by_key(|lived| lived.seed);
    lived
}

#[test]
fn every_promise_holds_whatever_fails() {
    if let Some(seed) = number("OAUTH_MANAGER_SEED") {
        let verdict = world::live(seed);
        println!("{}", verdict.history.tail(usize::MAX));
        assert_eq!(verdict.violation, None, "seed {seed}");
        return;
    }
    let mut found = BTreeMap::<String, Vec<u64>>::new();
    let (mut first, mut events) = (None, 0);
    let seeds = number("OAUTH_MANAGER_SEEDS").unwrap_or(SEEDS);
    for lived in live_all(seeds) {
        events += lived.events;
        if let Some((violation, tail)) = lived.violation {
            let promise = violation.split(':').next().unwrap_or_default().to_owned();
            found.entry(promise).or_default().push(lived.seed);
            first.get_or_insert((lived.seed, violation, tail));
        }
    }
    assert!(
        events as u64 > seeds * 50,
        "worlds in which nothing happens prove nothing"
    );
    if let Some((seed, violation, tail)) = first {
        for (promise, seeds) in found {
            println!(
                "{} seeds: {promise}, as {:?}",
                seeds.len(),
                &seeds[..seeds.len().min(8)]
            );
        }
        panic!(
            "seed {seed}: {violation}\n{tail}\nreplay: OAUTH_MANAGER_SEED={seed} cargo test -p oauth-manager-actors --lib \
             simulation -- --nocapture"
        );
    }
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in 0..20 {
        let (one, other) = (world::live(seed), world::live(seed));
        assert_eq!(one.history.differs_from(&other.history), None, "seed {seed}");
    }
}
