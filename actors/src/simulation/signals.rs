//! What an operating system does to a process: kills it, stops it, lets it go on; at any moment, and at the worst ones.

use std::{sync::Arc, time::Duration};

use tokio_util::task::TaskTracker;

use super::{post::Post, pulse::Life};

impl Post {
    /// SIGKILL: from this instant on nothing leaves it.
    pub(super) fn kill(&self) {
        if self.pulse.get() == Life::Dead {
            return;
        }
        self.tell("killed");
        let now = self.land.now();
        self.land.checker().node_killed(self.place, self.index, now);
        self.pulse.set(Life::Dead);
        self.killed.notify_one();
    }

    /// SIGSTOP, and SIGCONT after this long.
    pub(super) fn pause(&self, pause: Duration) {
        if !self.pulse.runs() {
            return;
        }
        self.tell("stopped in its tracks");
        let now = self.land.now();
        self.land.checker().node_paused(self.place, self.index, now);
        self.pulse.set(Life::Paused);
        if let Some(post) = self.me.upgrade() {
            TaskTracker::new().spawn(async move {
                tokio::time::sleep(pause).await;
                post.resume();
            });
        }
    }

    /// SIGCONT.
    pub(super) fn resume(self: &Arc<Self>) {
        if self.pulse.get() != Life::Paused {
            return;
        }
        let now = self.land.now();
        self.land.checker().node_resumed(self.place, self.index, now);
        self.tell("goes on");
        self.pulse.set(Life::Running);
        // What it did not hear meanwhile it finds by looking.
        self.changed.notify_one();
    }

    /// A step of the protocol: where a process that dies or stops does the most harm.
    pub(super) fn step(&self) {
        if !self.land.chaos() {
            return;
        }
        let steps = self.land.swarm.steps;
        if self.dice.chance(steps.dies) {
            self.kill();
        } else if self.dice.chance(steps.stops) {
            self.pause(self.dice.between(Duration::from_secs(1), Duration::from_secs(90)));
        }
    }
}
