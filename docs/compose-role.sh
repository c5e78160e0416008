#!/bin/sh
# Run once by the Postgres image, as superuser, when its data directory is new.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$(cat /run/secrets/service_password)" <<'SQL'
CREATE ROLE oauth_manager LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'password';
CREATE DATABASE oauth_manager OWNER oauth_manager;
SQL
