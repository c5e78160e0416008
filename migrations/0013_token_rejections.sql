-- Access tokens that a provider's interface did not accept, as services report it: one row per account, for the newest
-- generation reported. Whoever writes it first forces the refresh, over all nodes. No user's data: an id, and what the
-- provider demands of the next sign-in.

CREATE TABLE oauth_token_rejections (
    integration_id uuid PRIMARY KEY REFERENCES oauth_integrations ON DELETE CASCADE,
    generation bigint NOT NULL CHECK (generation > 0),
    -- A claims challenge (OpenID Connect Core 5.5), for the next time the user connects this account.
    claims text CHECK (octet_length(claims) <= 4096),
    reported_at timestamptz NOT NULL DEFAULT now()
);
