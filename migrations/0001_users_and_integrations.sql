-- Users, their connected accounts and the tokens of these.
--
-- Every table with a `subject` belongs to that user: row-level security shows its rows only to a session that has said
-- `oauth_manager.subject = <the user>`, or `oauth_manager.scope = system` (this service's own work). It is forced, so that
-- it holds for the owner of the tables too. The subject stands in every such table, held equal to its user's by foreign
-- keys, so that no policy needs a join.

CREATE TABLE users (
    id uuid PRIMARY KEY,
    subject text NOT NULL UNIQUE CHECK (char_length(subject) BETWEEN 1 AND 255),
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (id, subject)
);

CREATE TABLE oauth_integrations (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    subject text NOT NULL,
    provider text NOT NULL CHECK (provider ~ '^[a-z][a-z0-9-]{0,39}$'),
    provider_user_id text NOT NULL CHECK (char_length(provider_user_id) BETWEEN 1 AND 512),
    provider_issuer text CHECK (char_length(provider_issuer) <= 2048),
    account_name text CHECK (char_length(account_name) <= 320),
    account_email text CHECK (char_length(account_email) <= 320),
    status text NOT NULL
        CHECK (status IN ('pending', 'active', 'degraded', 'reauth_required', 'paused', 'revoked')),
    status_reason text CHECK (char_length(status_reason) <= 64),
    who_must_act text CHECK (who_must_act IN ('user', 'admin', 'operator', 'developer', 'nobody')),
    -- What the provider granted, never what was asked for.
    scopes text[] NOT NULL DEFAULT '{}' CHECK (cardinality(scopes) <= 500),
    -- What the user switched on.
    features text[] NOT NULL DEFAULT '{}' CHECK (cardinality(features) <= 200),
    metadata jsonb NOT NULL DEFAULT '{}'
        CHECK (jsonb_typeof(metadata) = 'object' AND octet_length(metadata::text) <= 16384),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    last_refreshed_at timestamptz,
    revoked_at timestamptz,
    provider_revocation text CHECK (provider_revocation IN ('confirmed', 'pending', 'unsupported')),
    CHECK ((status = 'revoked') = (revoked_at IS NOT NULL)),
    FOREIGN KEY (user_id, subject) REFERENCES users (id, subject) ON DELETE CASCADE,
    UNIQUE (user_id, provider, provider_user_id),
    UNIQUE (id, subject)
) WITH (fillfactor = 80);

CREATE INDEX oauth_integrations_of_user ON oauth_integrations (subject, created_at DESC, id DESC);
CREATE INDEX oauth_integrations_newest ON oauth_integrations (created_at DESC, id DESC);

-- The row stays when the tokens are forgotten: the generation never goes back, so no write that was under way can
-- bring them to life again.
CREATE TABLE oauth_tokens (
    integration_id uuid PRIMARY KEY,
    subject text NOT NULL,
    generation bigint NOT NULL CHECK (generation > 0),
    data_key bytea CHECK (octet_length(data_key) <= 256),
    access_token bytea CHECK (octet_length(access_token) <= 65536),
    refresh_token bytea CHECK (octet_length(refresh_token) <= 65536),
    token_type text NOT NULL CHECK (char_length(token_type) BETWEEN 1 AND 64),
    issued_at timestamptz NOT NULL,
    expires_at timestamptz,
    refresh_token_expires_at timestamptz,
    -- When work falls due: a refresh, or (revoked) telling the provider.
    next_refresh_at timestamptz,
    failures integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    -- The write-ahead intent of a refresh. A claim that ran out means: outcome unknown.
    claim_attempt uuid,
    claim_node uuid,
    claim_since timestamptz,
    claim_until timestamptz,
    -- Says again what the integration's status says, so that claiming locks one row only.
    revoked_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((access_token IS NULL) = (data_key IS NULL)),
    CHECK (access_token IS NOT NULL OR refresh_token IS NULL),
    CHECK ((claim_attempt IS NULL) = (claim_node IS NULL)
        AND (claim_attempt IS NULL) = (claim_since IS NULL)
        AND (claim_attempt IS NULL) = (claim_until IS NULL)),
    FOREIGN KEY (integration_id, subject) REFERENCES oauth_integrations (id, subject) ON DELETE CASCADE
) WITH (fillfactor = 70);

CREATE INDEX oauth_tokens_due ON oauth_tokens (next_refresh_at) WHERE next_refresh_at IS NOT NULL;

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON users
    USING (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true))
    WITH CHECK (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true));

ALTER TABLE oauth_integrations ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_integrations FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON oauth_integrations
    USING (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true))
    WITH CHECK (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true));

ALTER TABLE oauth_tokens ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_tokens FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON oauth_tokens
    USING (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true))
    WITH CHECK (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true));
