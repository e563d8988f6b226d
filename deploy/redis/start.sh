#!/bin/sh
# Starts a Redis with the users of users.acl: start.sh USERS SERVER [OPTION...]
#
# The passwords come from the environment, and a missing or short one ends it. Only their hashes are written, to a file in
# HOLDFAST_RUN_DIR that the server alone can read. The server's own environment has none of them.
set -euf
umask 077

least=16
directory=${HOLDFAST_RUN_DIR:-/run/holdfast}
template=$1
shift

# Without -r, read joins a line that ends in a backslash with the next.
# shellcheck disable=SC2162
render() {
    while read line; do
        case $line in '' | '#'*) continue ;; esac
        rendered=
        for word in $line; do
            case $word in
            '#'*)
                variable=${word#?}
                eval "password=\${$variable:-}"
                if [ "${#password}" -lt "$least" ]; then
                    echo "start.sh: $variable must have at least $least characters" >&2
                    return 1
                fi
                hash=$(printf %s "$password" | sha256sum)
                word="#${hash%% *}"
                unset "$variable"
                ;;
            esac
            rendered="$rendered $word"
        done
        echo "${rendered# }"
    done <"$1"
}

mkdir -p "$directory"
render "$template" >"$directory/users.acl"
if [ "$(id -u)" = 0 ] && id redis >/dev/null 2>&1; then
    chown -R redis "$directory"
fi
exec "$@" --aclfile "$directory/users.acl"
