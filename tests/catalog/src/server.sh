# Runs a PostgreSQL server until standard input ends: $1 is the folder of its programs, $2 the port.
# Says the server's folder once it answers. Nothing is left of it afterwards, however its user ended.
set -eu
bin=$1 port=$2
dir=$(mktemp -d "${TMPDIR:-/tmp}/plinth-postgres-XXXXXX")
end() {
    cd /
    "$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap end EXIT
trap 'exit 1' INT TERM HUP
cd "$dir"
# Another order of text than that of bytes, to see that none of the catalog's columns uses it.
"$bin/initdb" -D "$dir/data" -A trust -U postgres -E UTF8 --no-locale --locale-provider=icu --icu-locale=en --no-sync \
    >"$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; exit 1; }
# Whoever calls themselves `locked` needs a password.
printf '%s\n' 'host all locked 127.0.0.1/32 scram-sha-256' 'host all all 127.0.0.1/32 trust' 'local all all trust' \
    >"$dir/data/pg_hba.conf"
# Tests kill servers, not machines: without flushes they are much faster.
"$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w \
    -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$dir -c fsync=off -c max_connections=400" \
    start >/dev/null 2>&1 || { cat "$dir/log" >&2; exit 1; }
echo "$dir"
cat >/dev/null
