#!/bin/sh
# Runs a command with the secrets that it was given as files: what /run/secrets/NAME holds, it finds in the variable NAME.
# Files whose names are no such variables, keys and certificates, stay files.
set -eu

for file in "${SECRETS:-/run/secrets}"/*; do
    name=$(basename "$file")
    case $name in
        *[!A-Z0-9_]*) continue ;;
    esac
    if [ -f "$file" ]; then
        value=$(cat "$file")
        export "$name=$value"
    fi
done
exec "$@"
