#!/bin/sh
# Runs once, when the server's volume is empty: two databases, each with an account of its own that cannot enter the other.
set -eu

psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    --set dagster="$(cat "${SECRETS:-/run/secrets}/DAGSTER_PG_PASSWORD")" \
    --set crowd="$(cat "${SECRETS:-/run/secrets}/PGPASSWORD")" <<'SQL'
CREATE ROLE dagster LOGIN PASSWORD :'dagster';
CREATE ROLE crowd LOGIN PASSWORD :'crowd';
CREATE DATABASE dagster OWNER dagster;
CREATE DATABASE crowd OWNER crowd;
REVOKE CONNECT ON DATABASE dagster, crowd, postgres FROM PUBLIC;
SQL
