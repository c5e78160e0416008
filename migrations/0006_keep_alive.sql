-- When an account was last asked for, when its refresh token ends, and which node was given its due work.

ALTER TABLE oauth_tokens
    -- Says again what the integration says: due work is taken provider by provider, soonest first, from one index.
    ADD COLUMN provider text,
    -- When a token was last asked for, to the hour: enough to tell who was not asked for in a day.
    ADD COLUMN last_used_at timestamptz NOT NULL DEFAULT now(),
    -- Since when the present end of the refresh token is known: what a share of its life is a share of.
    ADD COLUMN refresh_token_since timestamptz,
    -- When the user was told that the refresh token ends: once, until it lives longer again.
    ADD COLUMN refresh_token_warned_at timestamptz,
    -- Which node was given this row's due work, and until when others leave it alone. No claim: it fences nothing.
    ADD COLUMN dispatched_to uuid,
    ADD COLUMN dispatched_until timestamptz;

UPDATE oauth_tokens AS t
SET provider = i.provider,
    refresh_token_since = CASE WHEN t.refresh_token_expires_at IS NULL THEN NULL ELSE t.issued_at END
FROM oauth_integrations AS i WHERE i.id = t.integration_id;

ALTER TABLE oauth_tokens ALTER COLUMN provider SET NOT NULL;

-- For the program before this one, which runs beside it while nodes are replaced and does not know the column.
CREATE FUNCTION oauth_tokens_take_provider() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT provider INTO NEW.provider FROM oauth_integrations WHERE id = NEW.integration_id;
    RETURN NEW;
END
$$;

CREATE TRIGGER oauth_tokens_take_provider
    BEFORE INSERT ON oauth_tokens
    FOR EACH ROW WHEN (NEW.provider IS NULL) EXECUTE FUNCTION oauth_tokens_take_provider();

DROP INDEX oauth_tokens_due;
CREATE INDEX oauth_tokens_due ON oauth_tokens (provider, next_refresh_at) WHERE next_refresh_at IS NOT NULL;
