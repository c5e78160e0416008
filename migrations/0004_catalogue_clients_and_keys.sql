-- What belongs to no user: the providers' catalogue, service clients, and the check values of encryption keys.

CREATE TABLE oauth_scopes (
    provider text NOT NULL CHECK (char_length(provider) BETWEEN 1 AND 40),
    feature text NOT NULL CHECK (char_length(feature) BETWEEN 1 AND 128),
    scope text NOT NULL CHECK (char_length(scope) BETWEEN 1 AND 512),
    display_name text NOT NULL,
    description text NOT NULL,
    category text NOT NULL,
    required boolean NOT NULL,
    dangerous boolean NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, feature, scope)
);

CREATE TABLE oauth_service_clients (
    id uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (char_length(name) BETWEEN 1 AND 128),
    -- `PROVIDER:FEATURE` entries, `*` for any.
    allow text[] NOT NULL,
    sessions boolean NOT NULL,
    admin boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

-- Several may be live at once, so that a credential can be replaced without a pause.
CREATE TABLE oauth_service_credentials (
    digest bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    client_id uuid NOT NULL REFERENCES oauth_service_clients (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);

CREATE INDEX oauth_service_credentials_of_client ON oauth_service_credentials (client_id);

CREATE TABLE oauth_key_checks (
    key_id text PRIMARY KEY CHECK (char_length(key_id) BETWEEN 1 AND 32),
    check_value bytea NOT NULL CHECK (octet_length(check_value) <= 256),
    created_at timestamptz NOT NULL DEFAULT now()
);
