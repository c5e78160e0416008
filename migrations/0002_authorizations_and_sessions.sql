-- Connect flows under way, and browsers' sessions with us. Whatever is looked up by a secret is found by its digest.

CREATE TABLE oauth_authorizations (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    subject text NOT NULL,
    provider text NOT NULL CHECK (provider ~ '^[a-z][a-z0-9-]{0,39}$'),
    status text NOT NULL
        CHECK (status IN ('created', 'redirected', 'returned', 'awaiting_confirmation', 'exchanged', 'connected',
            'denied', 'failed', 'expired')),
    error text CHECK (char_length(error) <= 64),
    handle bytea NOT NULL UNIQUE CHECK (octet_length(handle) = 32),
    state bytea UNIQUE CHECK (octet_length(state) = 32),
    browser bytea CHECK (octet_length(browser) = 32),
    confirmation bytea CHECK (octet_length(confirmation) = 32),
    nonce text CHECK (char_length(nonce) <= 128),
    features text[] NOT NULL CHECK (cardinality(features) <= 200),
    requested_scopes text[] NOT NULL CHECK (cardinality(requested_scopes) <= 500),
    redirect_uri text NOT NULL CHECK (char_length(redirect_uri) <= 2048),
    return_to text CHECK (char_length(return_to) <= 4096),
    -- A value, not a reference: the one it widens, or the one it made.
    integration_id uuid,
    login_hint text CHECK (char_length(login_hint) <= 320),
    data_key bytea CHECK (octet_length(data_key) <= 256),
    pkce_verifier bytea CHECK (octet_length(pkce_verifier) <= 1024),
    code bytea CHECK (octet_length(code) <= 16384),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    CHECK ((code IS NULL) = (confirmation IS NULL)),
    CHECK (data_key IS NOT NULL OR (pkce_verifier IS NULL AND code IS NULL)),
    FOREIGN KEY (user_id, subject) REFERENCES users (id, subject) ON DELETE CASCADE
);

CREATE INDEX oauth_authorizations_pending ON oauth_authorizations (subject)
    WHERE status IN ('created', 'redirected', 'returned', 'awaiting_confirmation', 'exchanged');
CREATE INDEX oauth_authorizations_expiry ON oauth_authorizations (expires_at);

CREATE TABLE oauth_sessions (
    id uuid PRIMARY KEY,
    subject text NOT NULL CHECK (char_length(subject) BETWEEN 1 AND 255),
    link bytea NOT NULL UNIQUE CHECK (octet_length(link) = 32),
    cookie bytea UNIQUE CHECK (octet_length(cookie) = 32),
    return_to text CHECK (char_length(return_to) <= 4096),
    features text[] NOT NULL CHECK (cardinality(features) <= 200),
    created_at timestamptz NOT NULL DEFAULT now(),
    link_expires_at timestamptz NOT NULL,
    opened_at timestamptz,
    expires_at timestamptz,
    CHECK ((cookie IS NULL) = (opened_at IS NULL) AND (cookie IS NULL) = (expires_at IS NULL))
);

CREATE INDEX oauth_sessions_expiry ON oauth_sessions ((coalesce(expires_at, link_expires_at)));

ALTER TABLE oauth_authorizations ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_authorizations FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON oauth_authorizations
    USING (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true))
    WITH CHECK (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true));

ALTER TABLE oauth_sessions ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_sessions FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON oauth_sessions
    USING (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true))
    WITH CHECK (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true));
