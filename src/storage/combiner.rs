//! Combines what many callers want of the database at one time into one statement: one round trip, one transaction and
//! one wait for the disk for all of them, as group commit does inside the database.
//!
//! Nobody waits for company. Who comes while nothing is under way goes at once; who comes while a batch is, goes with
//! everybody else who came meanwhile, as soon as it is done: or beside it, if it takes long or they are many. A batch does only what is beyond
//! doubt: whoever is not among its answers, and everybody if the database refused it as a whole, asks again alone, so that
//! one row's trouble is its own. If the connection fails nobody knows what was done, and all are told so.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};
use tokio_postgres::Row;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use oauth_manager_actors::ports::store::{StoreError, StoreResult};

use super::{Storage, errors, row};

/// How long a batch may take before those who wait go past it: many times what one takes beside its database. Where the
/// way there is longer, several are always under way.
const PATIENCE: Duration = Duration::from_millis(50);
/// Batches under way at once, at the most: connections are for others too.
const LANES_MAX: usize = 4;
/// Callers of one batch, at the most. What a statement costs by itself is spread over them; more would gain little, and
/// keep everybody in step: all at the database, while the provider and this program have nothing to do, and then all there.
const BATCH_MAX: usize = 16;

/// Something that can be asked for many rows in one statement.
pub(super) trait Batch: Send + Sync + 'static {
    /// What one caller wants.
    type Question: Send + Sync + 'static;
    /// What it is told.
    type Answer: Send + 'static;
    /// The statement's name in the log.
    const NAME: &'static str;

    /// The row that is written: a batch writes each once. `None` where rows are only read.
    fn written(question: &Self::Question) -> Option<Uuid>;

    /// Carries out all of them in one transaction: an answer for each, in the order of the questions.
    fn run(
        storage: &Storage,
        questions: &[Self::Question],
    ) -> impl Future<Output = StoreResult<Answers<Self>>> + Send;
}

/// What was answered. `None`: this row was left as it was. An error is that of reading this row, after the batch was
/// carried out.
pub(super) type Answers<B> = Vec<Option<StoreResult<<B as Batch>::Answer>>>;

/// The rows that came back, by their integration, each read by `read`. One that does not say whose it is counts as not
/// done: its caller asks alone and meets its own fence.
pub(super) fn by_row<T>(
    rows: &[Row],
    read: impl Fn(&Row) -> StoreResult<T>,
) -> HashMap<Uuid, StoreResult<T>> {
    let known = rows.iter().filter_map(|row| Some((row::id(row).ok()?, row)));
    known.map(|(id, row)| (id, read(row))).collect()
}

/// What one caller learns: the answer, or `None`: nothing was done, ask alone.
type Reply<B> = StoreResult<Option<<B as Batch>::Answer>>;

/// Combines callers. Clones are the same combiner.
pub(super) struct Combiner<B: Batch> {
    queue: Arc<Mutex<Queue<B>>>,
    tasks: TaskTracker,
}

struct Queue<B: Batch> {
    waiting: VecDeque<Waiting<B>>,
    /// Lanes taken.
    lanes: usize,
    /// When the last batch began, or a lane for it.
    moved_at: Instant,
}

struct Waiting<B: Batch> {
    question: B::Question,
    reply: oneshot::Sender<Reply<B>>,
}

/// A lane while its task lives.
struct Lane<B: Batch> {
    combiner: Combiner<B>,
    is_taken: bool,
}

// === impl Combiner ===

impl<B: Batch> Combiner<B> {
    pub(super) fn new() -> Self {
        Self {
            queue: Arc::new(Mutex::new(Queue {
                waiting: VecDeque::new(),
                lanes: 0,
                moved_at: Instant::now(),
            })),
            tasks: TaskTracker::new(),
        }
    }

    /// Asks, together with whoever else asks now. `None`: nothing was done for this row; ask alone.
    pub(super) async fn ask(&self, storage: &Storage, question: B::Question) -> Reply<B> {
        let (reply, mut answer) = oneshot::channel();
        self.lock().waiting.push_back(Waiting { question, reply });
        loop {
            if self.lock().takes_a_lane() {
                // A task of its own: were it one caller's, its giving up would be everybody's.
                self.tasks.spawn(self.clone().work(storage.clone()));
            }
            if let Ok(answer) = tokio::time::timeout(PATIENCE, &mut answer).await {
                let ended = |_| Err(StoreError::Unavailable("a batch ended without an answer".into()));
                return answer.unwrap_or_else(ended);
            }
        }
    }

    /// One lane: batch after batch until nobody waits.
    async fn work(self, storage: Storage) {
        let mut lane = Lane {
            combiner: self,
            is_taken: true,
        };
        while let Some(batch) = lane.next() {
            let (questions, replies): (Vec<_>, Vec<_>) = batch
                .into_iter()
                .map(|waiting| (waiting.question, waiting.reply))
                .unzip();
            match storage.within(B::NAME, B::run(&storage, &questions)).await {
                Ok(answers) => {
                    for (answer, reply) in answers.into_iter().zip(replies) {
                        let _ = reply.send(answer.transpose());
                    }
                }
                Err(error) => {
                    let is_undone = errors::is_refusal(&error);
                    for reply in replies {
                        let _ = reply.send(if is_undone { Ok(None) } else { Err(error.clone()) });
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<B>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Batch> Clone for Combiner<B> {
    fn clone(&self) -> Self {
        Self {
            queue: Arc::clone(&self.queue),
            tasks: self.tasks.clone(),
        }
    }
}

// === impl Lane ===

impl<B: Batch> Lane<B> {
    /// The next batch; `None`: nobody waits, and the lane is given back, both under one lock.
    fn next(&mut self) -> Option<Vec<Waiting<B>>> {
        let mut queue = self.combiner.lock();
        let batch = queue.take();
        if batch.is_empty() {
            queue.lanes -= 1;
            self.is_taken = false;
            return None;
        }
        queue.moved_at = Instant::now();
        Some(batch)
    }
}

impl<B: Batch> Drop for Lane<B> {
    /// Were its task to fail, nobody may wait for it for ever.
    fn drop(&mut self) {
        if self.is_taken {
            let mut queue = self.combiner.lock();
            queue.lanes -= 1;
            queue.waiting.clear();
        }
    }
}

// === impl Queue ===

impl<B: Batch> Queue<B> {
    /// Takes a lane if somebody waits and none is taken, or those that are have not moved for long or cannot take all.
    fn takes_a_lane(&mut self) -> bool {
        let is_free = match self.lanes {
            0 => !self.waiting.is_empty(),
            LANES_MAX.. => false,
            _ => {
                let is_stuck = !self.waiting.is_empty() && self.moved_at.elapsed() >= PATIENCE;
                is_stuck || self.waiting.len() >= BATCH_MAX
            }
        };
        if is_free {
            self.lanes += 1;
            self.moved_at = Instant::now();
        }
        is_free
    }

    /// Whoever goes next, in the order they came: each row once, and nobody who has given up.
    fn take(&mut self) -> Vec<Waiting<B>> {
        let (mut batch, mut later) = (Vec::new(), VecDeque::new());
        let mut rows = HashSet::new();
        while batch.len() < BATCH_MAX
            && let Some(waiting) = self.waiting.pop_front()
        {
            if waiting.reply.is_closed() {
                continue;
            }
            match B::written(&waiting.question) {
                Some(row) if !rows.insert(row) => later.push_back(waiting),
                Some(_) | None => batch.push(waiting),
            }
        }
        later.append(&mut self.waiting);
        self.waiting = later;
        batch
    }
}
