//! How much due work of one provider a node takes: no more than it can start soon, so that other nodes get their share and
//! nothing waits here that could be done elsewhere. Pure.

/// Bites begin with this many times the calls the provider gets at once.
const BITE_FIRST: usize = 4;
/// Accounts woken by one look, at the most: a provider that answers in a millisecond gets a thousand calls a second.
const BITE_MAX: usize = 2_000;

/// The appetite for one provider's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Appetite {
    /// Calls the provider gets at once.
    concurrency: usize,
    /// How many may be under way or wait here.
    room: usize,
    /// Whether the last bite was as much as was wanted: there is more.
    filled: bool,
}

impl Appetite {
    pub(super) fn new(concurrency: usize) -> Self {
        Self {
            concurrency: concurrency.max(1),
            room: (concurrency.max(1) * BITE_FIRST).min(BITE_MAX),
            filled: false,
        }
    }

    /// How much to take now, with so many under way: more each time all was begun by the next look, less while they
    /// queue. A provider that nobody may call gets one: whoever is to find out when that ends.
    pub(super) fn bite(&mut self, under_way: usize, held_off: bool) -> u32 {
        if held_off {
            return u32::from(under_way == 0);
        }
        if under_way > self.room / 2 {
            self.room = (self.room / 2).max(self.concurrency * 2);
        } else if self.filled && under_way <= self.concurrency {
            self.room = (self.room * 2).min(BITE_MAX);
        }
        u32::try_from(self.room.saturating_sub(under_way)).unwrap_or(u32::MAX)
    }

    /// So much was had of what was wanted. Whether there is likely to be more.
    pub(super) fn had(&mut self, wanted: u32, got: usize) -> bool {
        if wanted > 0 {
            self.filled = got >= wanted as usize;
        }
        self.filled
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_grows_while_everything_taken_is_begun_at_once_and_shrinks_while_it_queues() {
        let mut appetite = Appetite::new(64);
        assert_eq!(appetite.bite(0, false), 256, "a start is capped");
        appetite.had(256, 256);
        assert_eq!(appetite.bite(10, false), 502);
        appetite.had(502, 502);
        assert_eq!(appetite.bite(400, false), 0, "they queue");
        assert_eq!(appetite.bite(200, false), 0);
        assert!(appetite.had(0, 0), "there is more, as far as anybody knows");
        assert_eq!(appetite.bite(100, false), 28);
        assert!(!appetite.had(28, 3), "there is no more");
        assert_eq!(appetite.bite(0, false), 128, "nothing to grow for");
    }

    #[test]
    fn a_provider_that_is_held_off_gets_one_to_find_out_when_that_ends() {
        let mut appetite = Appetite::new(64);
        assert_eq!(appetite.bite(0, true), 1);
        assert_eq!(appetite.bite(1, true), 0);
    }

    proptest! {
        #[test]
        fn what_is_taken_is_bounded_whatever_happens(
            concurrency in 0_usize..10_000,
            looks in proptest::collection::vec((0_usize..20_000, any::<bool>(), any::<bool>()), 0..50),
        ) {
            let mut appetite = Appetite::new(concurrency);
            let bound = BITE_MAX.max(concurrency.max(1) * 2);
            for (under_way, held_off, all) in looks {
                let wanted = appetite.bite(under_way, held_off);
                prop_assert!(wanted as usize + under_way.min(bound) <= bound);
                appetite.had(wanted, if all { wanted as usize } else { 0 });
            }
            prop_assert!(appetite.bite(0, false) > 0, "it never starves");
        }
    }
}
