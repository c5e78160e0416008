-- What stands agreed to, where a hand-out can see it; which words a connect flow showed; and the words themselves.

-- By feature (`scopes`: what was asked for by name), of the last consent: the version of its wording, when it ends, and
-- whether it was taken back. A feature that is listed and not switched on was taken back.
ALTER TABLE oauth_integrations
    ADD COLUMN agreements jsonb NOT NULL DEFAULT '{}'
        CHECK (jsonb_typeof(agreements) = 'object' AND octet_length(agreements::text) <= 65536);

UPDATE oauth_integrations AS i
SET agreements = last.agreements
FROM (
    SELECT integration_id, jsonb_object_agg(key, jsonb_strip_nulls(jsonb_build_object(
        'wording', wording_version, 'expires_at', to_jsonb(expires_at),
        'withdrawn', CASE WHEN key = 'scopes' AND withdrawn_at IS NOT NULL THEN true END))) AS agreements
    FROM (
        SELECT DISTINCT ON (c.integration_id, key) c.integration_id, key, c.wording_version, c.expires_at, c.withdrawn_at
        FROM oauth_consents AS c,
            unnest(CASE WHEN c.features = '{}' THEN '{scopes}'::text[] ELSE c.features END) AS key
        ORDER BY c.integration_id, key, c.granted_at DESC, c.id DESC
    ) AS newest
    GROUP BY integration_id
) AS last
WHERE last.integration_id = i.id;

-- A list of feature, version and digest.
ALTER TABLE oauth_authorizations
    ADD COLUMN shown jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(shown) = 'array');

-- What a digest in a consent stands for: the words as they were shown. No user's data.
CREATE TABLE oauth_wordings (
    hash text PRIMARY KEY CHECK (char_length(hash) BETWEEN 1 AND 128),
    version text NOT NULL CHECK (char_length(version) BETWEEN 1 AND 64),
    feature text CHECK (char_length(feature) <= 128),
    wording text NOT NULL CHECK (char_length(wording) <= 65536),
    first_shown_at timestamptz NOT NULL DEFAULT now()
);
