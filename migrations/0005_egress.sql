-- What all nodes must agree on about calls to providers: one row per budget (a token endpoint and our client id there).
-- No user's data: no subject, and no row-level security.

CREATE TABLE oauth_egress (
    budget text PRIMARY KEY CHECK (char_length(budget) BETWEEN 1 AND 320),
    -- The breaker, while it is open.
    fault text CHECK (fault IN ('operator', 'outage')),
    reason text CHECK (char_length(reason) <= 64),
    opened_at timestamptz,
    -- Made by whoever opened it, or found a graver fault: that one tells the operator.
    episode uuid,
    -- Before this nobody calls; from then on one node may claim the probe.
    probe_due_at timestamptz,
    -- Who claimed the last probe, and when.
    probe_node uuid,
    probe_claimed_at timestamptz,
    -- Where calls per second are capped: when the next turn is that nobody has taken.
    next_turn_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((fault IS NULL) = (reason IS NULL)
        AND (fault IS NULL) = (opened_at IS NULL)
        AND (fault IS NULL) = (probe_due_at IS NULL))
);
