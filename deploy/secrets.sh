#!/bin/sh
# Writes .env beside docker-compose.yml: a password of 256 random bits for every user and role, for your eyes only.
# Does nothing where .env is already: the servers know its passwords. To change one, edit it and run docker compose up.
set -eu
umask 077
cd "$(dirname "$0")/.."

if [ -e .env ]; then
    echo ".env is there already; nothing was changed" >&2
    exit 1
fi
for name in \
    POSTGRES_PASSWORD POSTGRES_OWNER_PASSWORD POSTGRES_API_PASSWORD POSTGRES_WORKER_PASSWORD POSTGRES_OPERATOR_PASSWORD \
    REDIS_API_PASSWORD REDIS_WORKER_PASSWORD REDIS_SCHEDULER_PASSWORD REDIS_OPERATOR_PASSWORD; do
    # Hexadecimal, because they become parts of URLs.
    echo "$name=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')"
done >.env.new
mv .env.new .env
