-- Whether the database takes writes, tried from time to time by each node: one small row each, written over and over.

CREATE TABLE oauth_write_probe (
    node uuid PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    -- Empty, but where it is to be found out whether a full disk has room again.
    filler bytea NOT NULL DEFAULT ''
) WITH (fillfactor = 50);
ALTER TABLE oauth_write_probe ALTER COLUMN filler SET STORAGE EXTERNAL;
