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

-- Erasing a user. The row is the intent: it stands before anything is deleted, and names the user only until nothing of
-- theirs can come late any more. The pseudonym is random; when the name goes, nothing links the two.
CREATE TABLE oauth_erasures (
    id uuid PRIMARY KEY,
    subject text CHECK (char_length(subject) BETWEEN 1 AND 255),
    pseudonym text NOT NULL UNIQUE CHECK (pseudonym LIKE 'erased:%'),
    requested_at timestamptz NOT NULL DEFAULT now(),
    swept_at timestamptz,
    finished_at timestamptz,
    CHECK ((subject IS NULL) = (finished_at IS NOT NULL)),
    CHECK (finished_at IS NULL OR swept_at IS NOT NULL)
);

CREATE UNIQUE INDEX oauth_erasures_unfinished ON oauth_erasures (subject) WHERE subject IS NOT NULL;

ALTER TABLE oauth_erasures ENABLE ROW LEVEL SECURITY;
ALTER TABLE oauth_erasures FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON oauth_erasures
    USING (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true))
    WITH CHECK (current_setting('oauth_manager.scope', true) = 'system'
        OR subject = current_setting('oauth_manager.subject', true));

-- Who did something, where it was a user: an erasure looks for it in others' records too.
CREATE INDEX oauth_audit_log_of_user_actor ON oauth_audit_log (actor) WHERE actor LIKE 'user:%';
CREATE INDEX oauth_consents_of_subject ON oauth_consents (subject, granted_at DESC, id DESC);

-- The audit stays append-only with one exception, which takes a name out and can do nothing else: whoever declares an
-- erasure, by whatever right, can only turn that user into a pseudonym and drop where they came from. What was done, when,
-- by which request and how it ended is refused as before, and so is every deletion.
CREATE OR REPLACE FUNCTION oauth_audit_log_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND current_setting('oauth_manager.erasing', true) <> '' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION 'oauth_audit_log is append-only: % refused', TG_OP;
END
$$;

CREATE FUNCTION oauth_audit_log_takes_names_out() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    whose text := current_setting('oauth_manager.erasing', true);
    names text[] := '{subject, actor, ip, user_agent}';
BEGIN
    IF to_jsonb(NEW) - names = to_jsonb(OLD) - names AND NEW.ip IS NULL AND NEW.user_agent IS NULL
        AND (OLD.subject = whose OR OLD.actor = 'user:' || whose)
        AND (NEW.subject IS NOT DISTINCT FROM OLD.subject OR OLD.subject = whose AND NEW.subject LIKE 'erased:%')
        AND (NEW.actor = OLD.actor OR OLD.actor = 'user:' || whose AND NEW.actor LIKE 'user:erased:%')
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'oauth_audit_log is append-only: only an erased user''s name may go';
END
$$;

CREATE TRIGGER oauth_audit_log_refuse_more
    BEFORE UPDATE ON oauth_audit_log
    FOR EACH ROW EXECUTE FUNCTION oauth_audit_log_takes_names_out();

CREATE POLICY take_names_out ON oauth_audit_log FOR UPDATE
    USING (current_setting('oauth_manager.scope', true) = 'system'
        AND (subject = current_setting('oauth_manager.erasing', true)
            OR actor = 'user:' || current_setting('oauth_manager.erasing', true)))
    WITH CHECK (subject IS DISTINCT FROM current_setting('oauth_manager.erasing', true)
        AND actor <> 'user:' || current_setting('oauth_manager.erasing', true));

-- Runs with its owner's rights: the service's role needs no right to change the audit, only to call this. Names its table in
-- full, so that nobody's search path leads it elsewhere.
DO $do$
BEGIN
    EXECUTE format($create$
        CREATE FUNCTION oauth_audit_log_erase(whose text, pseudonym text) RETURNS bigint
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
        DECLARE
            touched bigint;
        BEGIN
            PERFORM set_config('oauth_manager.erasing', whose, true);
            UPDATE %1$I.oauth_audit_log
            SET subject = CASE WHEN subject = whose THEN pseudonym ELSE subject END,
                actor = CASE WHEN actor = 'user:' || whose THEN 'user:' || pseudonym ELSE actor END,
                ip = NULL, user_agent = NULL
            WHERE subject = whose OR actor LIKE 'user:%%' AND actor = 'user:' || whose;
            GET DIAGNOSTICS touched = ROW_COUNT;
            PERFORM set_config('oauth_manager.erasing', '', true);
            RETURN touched;
        END
        $body$
    $create$, current_schema());
END
$do$;
REVOKE ALL ON FUNCTION oauth_audit_log_erase(text, text) FROM PUBLIC;
