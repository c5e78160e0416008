-- Since when an account stands as it stands, for whoever asks why. Kept by the row itself: whatever statement changes a
-- status cannot forget it, and a refresh that changes none does not pay for it.

ALTER TABLE oauth_integrations ADD COLUMN status_since timestamptz NOT NULL DEFAULT now();

CREATE FUNCTION oauth_integrations_note_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.status_since := now();
    RETURN NEW;
END
$$;

CREATE TRIGGER oauth_integrations_status_since
    BEFORE UPDATE ON oauth_integrations
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status)
    EXECUTE FUNCTION oauth_integrations_note_status();

-- Accounts that somebody must look at are few beside those that work.
CREATE INDEX oauth_integrations_troubled ON oauth_integrations (created_at DESC, id DESC)
    WHERE status IN ('pending', 'degraded', 'reauth_required', 'paused');
-- Counting accounts by status reads this and not the rows.
CREATE INDEX oauth_integrations_census ON oauth_integrations (provider, status);
