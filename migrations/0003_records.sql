-- Consents, the audit and the outbox. Ids are values here, not references: records outlive what they describe.

CREATE TABLE oauth_consents (
    id uuid PRIMARY KEY,
    integration_id uuid NOT NULL,
    user_id uuid NOT NULL,
    subject text NOT NULL CHECK (char_length(subject) BETWEEN 1 AND 255),
    provider text NOT NULL CHECK (char_length(provider) BETWEEN 1 AND 40),
    features text[] NOT NULL,
    requested_scopes text[] NOT NULL,
    granted_scopes text[] NOT NULL,
    wording_version text NOT NULL CHECK (char_length(wording_version) BETWEEN 1 AND 64),
    wording_hash text NOT NULL CHECK (char_length(wording_hash) BETWEEN 1 AND 128),
    granted_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    withdrawn_at timestamptz,
    ip inet,
    user_agent text CHECK (char_length(user_agent) <= 256)
);

CREATE INDEX oauth_consents_of_integration ON oauth_consents (integration_id, granted_at DESC, id DESC);

CREATE TABLE oauth_audit_log (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL CHECK (char_length(actor) BETWEEN 1 AND 300),
    subject text CHECK (char_length(subject) <= 255),
    action text NOT NULL CHECK (char_length(action) BETWEEN 1 AND 64),
    outcome text NOT NULL CHECK (outcome IN ('success', 'failure', 'denied')),
    provider text CHECK (char_length(provider) <= 40),
    integration_id uuid,
    authorization_id uuid,
    scopes text[] NOT NULL,
    error text CHECK (char_length(error) <= 64),
    count integer NOT NULL CHECK (count > 0),
    request_id text CHECK (char_length(request_id) <= 128),
    ip inet,
    user_agent text CHECK (char_length(user_agent) <= 256)
);

CREATE INDEX oauth_audit_log_of_subject ON oauth_audit_log (subject, at DESC, id DESC);

CREATE FUNCTION oauth_audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'oauth_audit_log is append-only: % refused', TG_OP;
END
$$;

-- Of the statement, not of the row: a statement that would touch no row is refused as well.
CREATE TRIGGER oauth_audit_log_refuse_change
    BEFORE UPDATE OR DELETE OR TRUNCATE ON oauth_audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION oauth_audit_log_is_append_only();

-- The outbox: what happened to integrations, in the transaction in which it happened.
CREATE TABLE oauth_events (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    kind text NOT NULL CHECK (char_length(kind) BETWEEN 1 AND 64),
    subject text NOT NULL,
    provider text NOT NULL,
    integration_id uuid NOT NULL,
    generation bigint,
    status text NOT NULL,
    status_reason text
);

CREATE INDEX oauth_events_at ON oauth_events (at, id);
-- What makes other nodes drop what they hold; refreshes, by far the most, do not.
CREATE INDEX oauth_events_changes ON oauth_events (at) WHERE kind <> 'refreshed';

ALTER TABLE oauth_consents ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_consents FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON oauth_consents
    USING (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true))
    WITH CHECK (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true));

ALTER TABLE oauth_audit_log ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_audit_log FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON oauth_audit_log FOR SELECT
    USING (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true));
-- Anybody may add a record; nobody may change one.
CREATE POLICY append ON oauth_audit_log FOR INSERT WITH CHECK (true);

ALTER TABLE oauth_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_events FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON oauth_events
    USING (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true))
    WITH CHECK (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true));
