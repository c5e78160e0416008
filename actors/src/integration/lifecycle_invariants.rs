//! What holds in every order of events: the lifecycle driven by chance, with a model of its shell beside it.

use std::collections::HashMap;

use super::*;
use crate::{domain::integration::Standing, integration::row::Token};

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    Asked(Wanted),
    Due,
    Passes(Duration),
    /// A row as an attempt ends with it, or as a reload finds it.
    Settled(Sketch),
    HeldElsewhere(Duration),
    BreakerOpen(bool, Duration),
    DatabaseAway(Duration),
    Stalled,
    Resumed,
    Gone,
}

/// A row, by times relative to when it is read.
#[derive(Debug, Clone)]
struct Sketch {
    status: Status,
    who: Option<WhoMustAct>,
    /// Age and life of the token, in seconds; a life of `None` is unknown.
    token: Option<(i64, Option<i64>)>,
    due_in: Option<i64>,
}

impl Sketch {
    fn row(&self, now: Timestamp) -> Row {
        let shifted = |seconds: i64| at(now.as_second() + seconds);
        Row {
            standing: Standing {
                status: self.status,
                reason: self.who.map(|_| reason("why")),
                who_must_act: self.who,
            },
            token: self.token.map(|(age, life)| Token {
                generation: 1,
                issued_at: shifted(-age),
                expires_at: life.map(|life| shifted(life - age)),
            }),
            due_at: self.due_in.map(shifted),
            failures: 0,
            refreshable: true,
        }
    }
}

fn statuses() -> impl Strategy<Value = Status> {
    prop_oneof![
        4 => Just(Status::Active),
        2 => Just(Status::Degraded),
        1 => Just(Status::Pending),
        1 => Just(Status::Paused),
        1 => Just(Status::ReauthRequired),
        1 => Just(Status::Revoked),
    ]
}

fn sketches() -> impl Strategy<Value = Sketch> {
    let who = prop_oneof![
        Just(None),
        Just(Some(WhoMustAct::User)),
        Just(Some(WhoMustAct::Admin)),
        Just(Some(WhoMustAct::Operator)),
        Just(Some(WhoMustAct::Nobody)),
    ];
    let token = proptest::option::weighted(0.9, (0_i64..8000, proptest::option::weighted(0.9, 0_i64..8000)));
    (statuses(), who, token, proptest::option::of(-100_i64..8000)).prop_map(|(status, who, token, due_in)| {
        Sketch {
            status,
            who,
            token,
            due_in,
        }
    })
}

fn seconds(most: u64) -> impl Strategy<Value = Duration> {
    (0..most).prop_map(Duration::from_secs)
}

fn events() -> impl Strategy<Value = Event> {
    let wants = prop_oneof![
        4 => seconds(7200).prop_map(|min_ttl| Wanted::Token { min_ttl }),
        1 => Just(Wanted::Refresh),
    ];
    prop_oneof![
        6 => wants.prop_map(Event::Asked),
        2 => Just(Event::Due),
        3 => seconds(4000).prop_map(Event::Passes),
        4 => sketches().prop_map(Event::Settled),
        1 => seconds(60).prop_map(Event::HeldElsewhere),
        1 => (any::<bool>(), seconds(60)).prop_map(|(operator, wait)| Event::BreakerOpen(operator, wait)),
        1 => seconds(60).prop_map(Event::DatabaseAway),
        1 => Just(Event::Stalled),
        1 => Just(Event::Resumed),
        1 => Just(Event::Gone),
    ]
}

/// The lifecycle and what its shell knows.
struct World {
    state: State,
    now: Timestamp,
    waiting: HashMap<WaiterId, Wanted>,
    asked: u64,
    /// A refresh was begun and nothing was heard of it.
    under_way: bool,
    armed: Option<Timestamp>,
}

impl World {
    fn new(first: &Sketch) -> Self {
        let mut world = Self {
            state: awake(fresh()),
            now: now(),
            waiting: HashMap::new(),
            asked: 0,
            under_way: false,
            armed: None,
        };
        let (state, effects) = awaken(first.row(world.now), world.now);
        world.state = state;
        world.hear(effects);
        world
    }

    fn happen(&mut self, event: Event) {
        let before = self.state.clone();
        let then = |wait| after(self.now, wait);
        let mut ends_attempt = self.under_way;
        let input = match event {
            Event::Passes(time) => {
                self.now = then(time);
                // The shell's timer would have fired.
                match self.armed {
                    Some(at) if at <= self.now => Input::Due,
                    _ => return,
                }
            }
            Event::Asked(want) => {
                self.asked += 1;
                self.waiting.insert(WaiterId(self.asked), want);
                Input::Asked(WaiterId(self.asked), want)
            }
            Event::Due => Input::Due,
            Event::Settled(sketch) => {
                ends_attempt = true;
                Input::Settled(sketch.row(self.now))
            }
            Event::HeldElsewhere(wait) => Input::HeldElsewhere { look_at: then(wait) },
            Event::BreakerOpen(operator, wait) => {
                let cause = if operator {
                    OpenCause::Operator
                } else {
                    OpenCause::Outage
                };
                Input::BreakerOpen {
                    cause: cause(reason("why")),
                    until: then(wait),
                }
            }
            Event::DatabaseAway(wait) => Input::DatabaseAway { until: then(wait) },
            Event::Stalled => Input::Stalled,
            Event::Resumed => Input::Resumed,
            Event::Gone => {
                ends_attempt = true;
                Input::Gone
            }
        };
        let outcome = matches!(
            input,
            Input::HeldElsewhere { .. } | Input::BreakerOpen { .. } | Input::DatabaseAway { .. }
        );
        let released = ends_attempt
            && matches!(
                input,
                Input::Settled(_) | Input::Gone | Input::BreakerOpen { .. } | Input::DatabaseAway { .. }
            );
        if outcome || matches!(input, Input::Settled(_) | Input::Gone) {
            self.under_way = false;
        }
        let stalls = input == Input::Stalled;
        let only_asked = matches!(input, Input::Asked(..) | Input::Due);
        let newcomer = match input {
            Input::Asked(waiter, want) => Some((waiter, want)),
            _ => None,
        };
        let effects = step(&mut self.state, input, self.now);

        if outcome && !before.is_refreshing() {
            assert_eq!(effects, [], "a late outcome changes nothing");
            assert_eq!(self.state, before);
        }
        if before.phase == Phase::Revoked && only_asked {
            assert_eq!(
                self.state.phase,
                Phase::Revoked,
                "revoked until a row says otherwise"
            );
        }
        if before.phase == Phase::ReauthRequired && only_asked {
            assert!(
                !effects.contains(&Effect::StartRefresh),
                "a user's turn begins no refresh"
            );
        }
        if let Some((waiter, Wanted::Token { min_ttl })) = newcomer
            && before.phase != Phase::Revoked
            && before
                .row
                .token
                .is_some_and(|token| token.usable_for(self.now, min_ttl))
        {
            assert!(
                effects.contains(&Effect::Grant(waiter)),
                "a token that does is handed out in any phase"
            );
        }
        self.hear(effects);
        if stalls && self.under_way {
            assert!(
                self.waiting.is_empty(),
                "somebody waits for a database that is away"
            );
        }
        if released {
            assert!(
                self.waiting.is_empty(),
                "the attempt is over and somebody still waits: {:?}",
                self.waiting
            );
        }
    }

    fn hear(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::StartRefresh => {
                    assert!(!self.under_way, "two refreshes at once");
                    assert!(self.state.row.token.is_some(), "there is nothing to refresh with");
                    self.under_way = true;
                }
                Effect::TellProvider => assert_eq!(self.state.phase, Phase::Revoked),
                Effect::ArmTimer(at) => {
                    assert!(at < Timestamp::MAX);
                    self.armed = Some(at);
                }
                Effect::Grant(waiter) => {
                    let want = self.waiting.remove(&waiter).expect("answered once");
                    assert_ne!(self.state.phase, Phase::Revoked);
                    let token = self.state.row.token.expect("a token to grant");
                    if let (Wanted::Token { min_ttl }, Some(end)) = (want, token.expires_at) {
                        assert!(end > self.now, "an expired token");
                        assert!(until(self.now, end) >= min_ttl, "less life than asked for");
                    }
                }
                Effect::Refuse(waiter, refusal) => {
                    self.waiting.remove(&waiter).expect("answered once");
                    if let Refusal::Operator { retry_after, .. }
                    | Refusal::Unavailable { retry_after, .. }
                    | Refusal::Database { retry_after } = refusal
                    {
                        assert!(retry_after >= schedule::RETRY_AFTER_MIN);
                        assert!(retry_after <= schedule::PAUSED_RETRY);
                    }
                }
            }
        }
        assert_eq!(self.under_way, self.state.is_refreshing());
        let somebody_comes = matches!(
            self.state.phase,
            Phase::Refreshing | Phase::RefreshedElsewhere { .. }
        );
        assert!(
            self.waiting.is_empty() || somebody_comes,
            "waiting for nobody in {:?}",
            self.state.phase
        );
        assert_eq!(self.waiting.len(), self.state.waiters.len());
        if let Phase::RefreshedElsewhere { look_at: at } | Phase::BackedOff { until: at, .. } =
            self.state.phase
            && at < Timestamp::MAX
        {
            assert!(
                self.armed.is_some_and(|armed| armed <= at),
                "nobody will look again"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_breaks_the_lifecycle(
        first in sketches(), story in proptest::collection::vec(events(), 0..60),
    ) {
        let mut world = World::new(&first);
        for event in story {
            world.happen(event);
        }
    }

    #[test]
    fn whatever_happened_a_settled_row_answers_everybody(
        first in sketches(), story in proptest::collection::vec(events(), 0..60), last in sketches(),
    ) {
        let mut world = World::new(&first);
        for event in story {
            world.happen(event);
        }
        world.happen(Event::Settled(last));
        prop_assert!(world.waiting.is_empty());
    }
}
