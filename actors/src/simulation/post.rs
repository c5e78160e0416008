//! One node's ports: what it is, whom it reaches, its clock. Its line to the database is in `line.rs`, its way out to the
//! providers in `way.rs`: what happens on the way is thrown there.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::SignedDuration;
use tokio::sync::Notify;

use super::{
    dice::Dice,
    history::{Account, Event},
    land::Land,
    pulse::{Life, Pulse},
};
use crate::{
    domain::{Timestamp, ids::NodeId},
    ports::clock::Clock,
};

pub(super) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The ports of one run of the program.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) me: Weak<Self>,
    pub(super) land: Arc<Land>,
    /// Where it runs: later runs there find its disk.
    pub(super) place: usize,
    pub(super) index: usize,
    pub(super) id: NodeId,
    pub(super) pulse: Pulse,
    /// Cut off from the database, alone.
    pub(super) cut: AtomicBool,
    /// Hears no notifications.
    pub(super) deaf: AtomicBool,
    /// Whether it hears, or reaches the database, has changed.
    pub(super) changed: Notify,
    /// It was killed.
    pub(super) killed: Notify,
    pub(super) skew: SignedDuration,
    pub(super) dice: Dice,
}

impl Clock for Post {
    fn now(&self) -> Timestamp {
        self.land.now().checked_add(self.skew).unwrap_or(Timestamp::MAX)
    }
}

impl Post {
    pub(super) fn tell(&self, what: &'static str) {
        self.land.tell(Event::Node(self.index, what));
    }

    pub(super) fn provider(&self, account: Account, what: String) {
        self.land.tell(Event::Provider(self.index, account, what));
    }

    /// What was sent is on its way. Its sender may die meanwhile: then it arrives, or not.
    pub(super) async fn travel(&self, pause: Duration) {
        if pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(pause).await;
        }
        if self.pulse.get() == Life::Dead && self.dice.chance(0.5) {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn reaches_database(&self) -> bool {
        !self.cut.load(Ordering::Relaxed) && !self.land.database_away()
    }

    pub(super) fn hears(&self) -> bool {
        self.reaches_database() && !self.deaf.load(Ordering::Relaxed)
    }

    pub(super) fn set_cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
        self.cut_off();
        self.changed.notify_one();
        self.tell(if cut {
            "is cut off from the database"
        } else {
            "reaches the database"
        });
    }

    pub(super) fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::Relaxed);
        self.changed.notify_one();
        self.tell(if deaf {
            "hears no notifications"
        } else {
            "hears notifications"
        });
    }

    pub(super) fn cut_off(&self) {
        self.land.database_trouble();
        let now = self.land.now();
        self.land.checker().node_cut_off(self.place, self.index, now);
    }

    pub(super) fn hop(&self) -> Duration {
        if self.land.chaos() && self.dice.chance(0.5) {
            self.dice.between(ms(1), ms(20))
        } else {
            Duration::ZERO
        }
    }
}
