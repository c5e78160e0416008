//! One request from arrival to answer: record, faults, work, signature, more faults, record.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{Method, Response};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::answer::{Answer, AnswerBody, ReplyBody};
use super::archive::Archive;
use super::clock::Clock;
use super::fault::Fault;
use super::keys::Keys;
use super::provider::Provider;
use super::recorder::Outcome;
use super::request::Request;
use super::routes::{self, Target};
use super::world::{Call, World};
use super::{consent_page, control, mischief};

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    /// Where clients reach the simulator, without a slash at the end.
    pub base: String,
    pub keys: Keys,
    pub clock: Clock,
    pub stop: CancellationToken,
    /// Counts changes of the record, for those who wait for one.
    pub changes: watch::Sender<u64>,
    archive: Option<Arc<Archive>>,
    world: Mutex<World>,
}

/// What becomes of the connection.
#[derive(Debug)]
pub enum Ending {
    Reply(Response<ReplyBody>),
    /// Closed without a byte.
    Drop,
    /// Reset without a byte.
    Reset,
}

impl Shared {
    pub fn new(
        base: String,
        keys: Keys,
        stop: CancellationToken,
        world: World,
        archive: Option<Archive>,
    ) -> Self {
        Self {
            base,
            keys,
            clock: Clock::default(),
            stop,
            changes: watch::Sender::new(0),
            archive: archive.map(Arc::new),
            world: Mutex::new(world),
        }
    }

    /// A panic in a handler leaves the world usable: nothing in it is half done between two statements that matter.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what the providers know, if it is to outlive them.
    async fn keep(&self) {
        if let Some(archive) = &self.archive {
            let state = Archive::state(&mut self.world());
            archive.write(state).await;
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

pub async fn take(shared: &Shared, request: &Request) -> Ending {
    if request.path.starts_with("/_sim") {
        let answer = control::control(shared, request);
        if request.method == Method::POST {
            shared.keep().await;
        }
        return Ending::Reply(answer.respond());
    }
    if request.path == "/" {
        let page = consent_page::index(shared.world().accounts(Provider::Google));
        return Ending::Reply(Answer::html(200, page).respond());
    }
    let Some(target) = routes::resolve(&request.path, request) else {
        return Ending::Reply(routes::nothing_here().respond());
    };
    let (sequence, faults) = arrive(shared, request, target);
    let mut departure = Departure {
        shared,
        sequence,
        outcome: Outcome::Dropped,
    };
    let ending = serve(shared, request, target, sequence, &faults).await;
    if let Ending::Reply(response) = &ending {
        departure.outcome = Outcome::Status(response.status().as_u16());
    }
    ending
}

/// Records how a request ended, also when its client leaves while it waits: then it is dropped here and now.
struct Departure<'a> {
    shared: &'a Shared,
    sequence: u64,
    outcome: Outcome,
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let now = self.shared.clock.now();
        if let Some(entry) = self.shared.world().recorder.entry(self.sequence) {
            entry.outcome = Some(self.outcome);
            entry.ended_ms = Some(now);
        }
        self.shared.changed();
    }
}

fn arrive(shared: &Shared, request: &Request, target: Target<'_>) -> (u64, Vec<Fault>) {
    let (provider, endpoint) = (target.provider, target.endpoint);
    let now = shared.clock.now();
    let mut world = shared.world();
    let sequence = world.recorder.begin(provider, endpoint, request, now);
    let World { faults, ledger, .. } = &mut *world;
    let faults = faults.take(provider, endpoint, request, ledger);
    if !faults.is_empty()
        && let Some(entry) = world.recorder.entry(sequence)
    {
        entry.faults = faults.iter().map(Fault::name).collect();
    }
    drop(world);
    shared.changed();
    (sequence, faults)
}

async fn serve(
    shared: &Shared,
    request: &Request,
    target: Target<'_>,
    sequence: u64,
    faults: &[Fault],
) -> Ending {
    for fault in faults {
        let passed = match fault {
            Fault::Reset => return Ending::Reset,
            Fault::Hang => {
                shared.stop.cancelled().await;
                return Ending::Drop;
            }
            Fault::Gate(gate) => shared.stop.run_until_cancelled(gate.pass()).await,
            Fault::Delay { by } => shared.stop.run_until_cancelled(tokio::time::sleep(*by)).await,
            _ => Some(()),
        };
        if passed.is_none() {
            return Ending::Drop;
        }
    }
    let answer = work(shared, request, target, sequence, faults);
    if target.endpoint.changes_what_is_known() {
        shared.keep().await;
    }
    for fault in faults {
        match fault {
            Fault::LoseAnswer => return Ending::Drop,
            Fault::HangAfterWork => {
                shared.stop.cancelled().await;
                return Ending::Drop;
            }
            Fault::DelayAnswer { by } => {
                let _ = shared.stop.run_until_cancelled(tokio::time::sleep(*by)).await;
            }
            Fault::GateAnswer(gate) if shared.stop.run_until_cancelled(gate.pass()).await.is_none() => {
                return Ending::Drop;
            }
            _ => {}
        }
    }
    Ending::Reply(mischief::transmit(faults, &answer))
}

fn work(shared: &Shared, request: &Request, target: Target<'_>, sequence: u64, faults: &[Fault]) -> Answer {
    let shaping = mischief::shaping(faults);
    let call = Call {
        provider: target.provider,
        tenant: target.tenant,
        request,
        now: shared.clock.now(),
        base: &shared.base,
        shaping: &shaping,
    };
    let instead = faults
        .iter()
        .find_map(|fault| mischief::instead(fault, &call, target.endpoint));
    let mut world = shared.world();
    let mut answer = instead.unwrap_or_else(|| routes::work(&mut world, &shared.keys, &call, target));
    let rotation = world.rotation;
    if let (Some(refusal), Some(entry)) = (&answer.refusal, world.recorder.entry(sequence)) {
        entry.refusal = Some(refusal.clone());
    }
    drop(world);
    for fault in faults {
        mischief::alter(fault, &mut answer);
    }
    if let Some(draft) = answer.id_token.take()
        && let AnswerBody::Json(body) = &mut answer.body
    {
        body["id_token"] = json!(draft.sign(&shared.keys, rotation));
    }
    answer
}
