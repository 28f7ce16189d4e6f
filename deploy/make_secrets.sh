#!/bin/sh
# Makes what deploy/compose.yaml reads from deploy/secrets: random keys and passwords, a self-signed certificate for
# SERVER_NAME and DESK_NAME, and a file of users without any. What is there stays as it is, so it may be run again.
#
# The folder is closed to other accounts of the machine. Its files are not: containers read them under numbers of their own.
set -eu

secrets=${1:-$(dirname "$0")/secrets}
server=${SERVER_NAME:-localhost}
desk=${DESK_NAME:-desk.localhost}

umask 022
mkdir -p "$secrets"
chmod 700 "$secrets"
cd "$secrets"

random() {
    od -An -N "$1" -tx1 /dev/urandom | tr -d ' \n'
}

for name in AWS_SECRET_ACCESS_KEY CROWD_PSEUDONYM_KEY DAGSTER_PG_PASSWORD PGPASSWORD POSTGRES_PASSWORD RAY_AUTH_TOKEN; do
    [ -s "$name" ] || random 32 >"$name"
done
[ -s AWS_ACCESS_KEY_ID ] || random 10 >AWS_ACCESS_KEY_ID
[ -s oauth2_cookie ] || random 16 >oauth2_cookie
[ -e oauth2_client ] || : >oauth2_client
[ -e htpasswd ] || : >htpasswd

if [ ! -s s3.json ]; then
    printf '{"identities": [{"name": "crowd", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": ["Admin"]}]}\n' \
        "$(cat AWS_ACCESS_KEY_ID)" "$(cat AWS_SECRET_ACCESS_KEY)" >s3.json
fi
if [ ! -s tls.key ]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj "/CN=$server" \
        -addext "subjectAltName=DNS:$server,DNS:$desk" \
        -keyout tls.key -out tls.crt 2>/dev/null
    chmod 644 tls.key
fi
