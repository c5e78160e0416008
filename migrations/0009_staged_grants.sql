-- A user who came back as another account than the one to be connected again is asked which one is meant: the new grant
-- waits beside the old, sealed with the flow's own key, until they have chosen or the flow expires.

ALTER TABLE oauth_authorizations
    ADD COLUMN staged bytea CHECK (octet_length(staged) <= 131072),
    DROP CONSTRAINT oauth_authorizations_status_check,
    ADD CONSTRAINT oauth_authorizations_status_check
        CHECK (status IN ('created', 'redirected', 'returned', 'awaiting_confirmation', 'exchanged',
            'account_mismatch', 'connected', 'denied', 'failed', 'expired')),
    ADD CONSTRAINT oauth_authorizations_staged_while_asked
        CHECK ((staged IS NOT NULL) = (status = 'account_mismatch') AND (staged IS NULL OR data_key IS NOT NULL));

DROP INDEX oauth_authorizations_pending;
CREATE INDEX oauth_authorizations_pending ON oauth_authorizations (subject)
    WHERE status IN ('created', 'redirected', 'returned', 'awaiting_confirmation', 'exchanged', 'account_mismatch');

-- One grant at a provider may carry several connections: who else is on it is looked up before it is ended.
CREATE INDEX oauth_integrations_on_grant ON oauth_integrations ((coalesce(metadata->>'sub', provider_user_id)))
    WHERE status <> 'revoked';

-- An account is known by issuer and subject: the same subject at another issuer is somebody else.
ALTER TABLE oauth_integrations DROP CONSTRAINT oauth_integrations_user_id_provider_provider_user_id_key;
CREATE UNIQUE INDEX oauth_integrations_account
    ON oauth_integrations (user_id, provider, provider_user_id, (coalesce(provider_issuer, '')));
