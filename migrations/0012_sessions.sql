-- Sessions are confirmed: a link, the browsers that opened it (each with a pending session), and the sessions that the
-- application has confirmed. Sessions of before end here: nobody confirmed them.

DROP TABLE oauth_sessions;

CREATE TABLE oauth_session_links (
    id uuid PRIMARY KEY,
    subject text NOT NULL CHECK (char_length(subject) BETWEEN 1 AND 255),
    -- Values, not references: the service client that made it, and its name, which the pages show.
    client uuid NOT NULL,
    application text NOT NULL CHECK (char_length(application) BETWEEN 1 AND 64),
    display_name text CHECK (char_length(display_name) BETWEEN 1 AND 200),
    return_to text NOT NULL CHECK (char_length(return_to) <= 4096),
    features text[] NOT NULL CHECK (cardinality(features) <= 200),
    link bytea NOT NULL UNIQUE CHECK (octet_length(link) = 32),
    openings bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    died_at timestamptz
);

CREATE INDEX oauth_session_links_expiry ON oauth_session_links (expires_at);
CREATE INDEX oauth_session_links_of_subject ON oauth_session_links (subject);

-- A link has this many places for openings and no more: a scanner in a loop writes over the oldest.
CREATE TABLE oauth_session_openings (
    id uuid PRIMARY KEY,
    link_id uuid NOT NULL REFERENCES oauth_session_links (id) ON DELETE CASCADE,
    subject text NOT NULL CHECK (char_length(subject) BETWEEN 1 AND 255),
    place smallint NOT NULL CHECK (place BETWEEN 0 AND 31),
    pending bytea NOT NULL CHECK (octet_length(pending) = 32),
    confirmation bytea NOT NULL UNIQUE CHECK (octet_length(confirmation) = 32),
    opened_at timestamptz NOT NULL DEFAULT now(),
    confirmed_at timestamptz,
    expires_at timestamptz NOT NULL,
    UNIQUE (link_id, place)
);

CREATE INDEX oauth_session_openings_of_subject ON oauth_session_openings (subject);

CREATE TABLE oauth_sessions (
    -- That of the opening it came from: each becomes one session at most.
    id uuid PRIMARY KEY,
    -- A value, not a reference: sessions outlive their link.
    link_id uuid NOT NULL,
    subject text NOT NULL CHECK (char_length(subject) BETWEEN 1 AND 255),
    application text NOT NULL CHECK (char_length(application) BETWEEN 1 AND 64),
    display_name text CHECK (char_length(display_name) BETWEEN 1 AND 200),
    return_to text NOT NULL CHECK (char_length(return_to) <= 4096),
    features text[] NOT NULL CHECK (cardinality(features) <= 200),
    cookie bytea NOT NULL UNIQUE CHECK (octet_length(cookie) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);

CREATE INDEX oauth_sessions_expiry ON oauth_sessions (expires_at);
CREATE INDEX oauth_sessions_of_subject ON oauth_sessions (subject);

ALTER TABLE oauth_session_links ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_session_links FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON oauth_session_links
    USING (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true))
    WITH CHECK (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true));

ALTER TABLE oauth_session_openings ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_session_openings FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON oauth_session_openings
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
