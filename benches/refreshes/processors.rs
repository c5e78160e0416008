//! Who spent how much of the processors.

use std::{fs, time::Duration};

/// Whose time is told.
pub struct Processes {
    pub service: u32,
    pub provider: u32,
    pub postmaster: u32,
}

/// Processor time so far.
#[derive(Clone, Copy)]
pub struct Spent {
    service: Duration,
    postgres: Duration,
    provider: Duration,
    load: Duration,
    /// Of the whole machine, since it was started: busy, and at all.
    machine: (u64, u64),
}

impl Processes {
    pub fn spent(&self) -> Spent {
        Spent {
            service: of(self.service).0,
            postgres: of_family(self.postmaster),
            provider: of(self.provider).0,
            load: of(std::process::id()).0,
            machine: machine(),
        }
    }
}

impl Spent {
    /// Microseconds of processor time for each of so many refreshes.
    pub fn each_since(&self, before: &Self, refreshes: u64) -> String {
        let each = |now: Duration, before: Duration| {
            (now.saturating_sub(before)).as_secs_f64() * 1e6 / refreshes.max(1) as f64
        };
        let (busy, all) = (
            self.machine.0 - before.machine.0,
            self.machine.1 - before.machine.1,
        );
        format!(
            "processor time of one: service {:.0} us, Postgres {:.0} us, provider {:.0} us, load {:.0} us; \
             the machine was busy {:.0} % of the time",
            each(self.service, before.service),
            each(self.postgres, before.postgres),
            each(self.provider, before.provider),
            each(self.load, before.load),
            busy as f64 * 100.0 / all.max(1) as f64,
        )
    }
}

/// Own time, and that of children that have ended; and the parent (`proc(5)`, `stat`; ticks of 10 ms).
fn of(pid: u32) -> (Duration, Duration, u32) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<u64> = after_name
        .split_whitespace()
        .map(|text| text.parse().unwrap_or(0))
        .collect();
    let field = |index: usize| fields.get(index).copied().unwrap_or(0);
    let ticks = |ticks: u64| Duration::from_millis(10 * ticks);
    (
        ticks(field(11) + field(12)),
        ticks(field(13) + field(14)),
        u32::try_from(field(1)).unwrap_or(0),
    )
}

/// All processors' time, in ticks: spent on anything, and spent at all (`proc(5)`, `stat`: the fourth and fifth are idle).
fn machine() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first
        .split_whitespace()
        .skip(1)
        .filter_map(|text| text.parse().ok())
        .collect();
    let all = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    (all - idle, all)
}

/// A process and its children, those that have ended included.
fn of_family(parent: u32) -> Duration {
    let (own, ended, _) = of(parent);
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let children: Duration = pids
        .map(of)
        .filter(|(_, _, of)| *of == parent)
        .map(|(own, _, _)| own)
        .sum();
    own + ended + children
}
