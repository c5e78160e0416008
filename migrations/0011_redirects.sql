-- Every browser that opens a connect link is sent to the provider with a state, a nonce and a verifier of its own, and any
-- of them may come back: a scanner that looks at the link, or a second tab, does not shut the first one out. The flow's own
-- columns hold what belongs to the one that came back.

ALTER TABLE oauth_authorizations
    ADD COLUMN redirects integer NOT NULL DEFAULT 0 CHECK (redirects >= 0);

CREATE TABLE oauth_authorization_redirects (
    state bytea PRIMARY KEY CHECK (octet_length(state) = 32),
    authorization_id uuid NOT NULL REFERENCES oauth_authorizations (id) ON DELETE CASCADE,
    subject text NOT NULL,
    browser bytea NOT NULL CHECK (octet_length(browser) = 32),
    nonce text CHECK (char_length(nonce) <= 128),
    data_key bytea CHECK (octet_length(data_key) <= 256),
    pkce_verifier bytea CHECK (octet_length(pkce_verifier) <= 1024),
    created_at timestamptz NOT NULL DEFAULT now(),
    -- It came back, and nothing could come of it.
    refused_at timestamptz,
    CHECK (data_key IS NOT NULL OR pkce_verifier IS NULL)
);

CREATE INDEX oauth_authorization_redirects_of_flow ON oauth_authorization_redirects (authorization_id);
CREATE INDEX oauth_authorization_redirects_of_browser ON oauth_authorization_redirects (browser);

-- Flows under way go on, and those that have ended still know their browser.
INSERT INTO oauth_authorization_redirects
    (state, authorization_id, subject, browser, nonce, data_key, pkce_verifier, created_at)
SELECT state, id, subject, browser,
    CASE WHEN status = 'redirected' THEN nonce END,
    CASE WHEN status = 'redirected' THEN data_key END,
    CASE WHEN status = 'redirected' THEN pkce_verifier END,
    updated_at
FROM oauth_authorizations
WHERE state IS NOT NULL AND browser IS NOT NULL;

UPDATE oauth_authorizations SET redirects = 1 WHERE state IS NOT NULL;

ALTER TABLE oauth_authorization_redirects ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_authorization_redirects FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON oauth_authorization_redirects
    USING (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true))
    WITH CHECK (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true));
