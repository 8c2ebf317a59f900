#!/usr/bin/env bash
# The figures of docs/performance.md: this server and Debian's Dovecot (with mail-crypt, and without encryption), one
# after another on one machine, on loopback, with 5,000 real mails. Markdown on standard output.
#   benchmarks/run.sh [WORKLOADS]      names or prefixes as imapbench.py takes them; all by default
# Needs root and apt-get install dovecot-imapd dovecot-lmtpd; make corpus.
set -euo pipefail
cd "$(dirname "$0")/.."
workloads=${1:-all}
out=$(mktemp -d /tmp/aerogramme-bench.XXXXXX)
bench() { # label imap lmtp pid user
  .venv/bin/python benchmarks/imapbench.py --label "$1" --imap "127.0.0.1:$2" --lmtp "127.0.0.1:$3" \
    --server-pid "$4" --user "$5" --password hunter2 --corpus corpus --workloads "$workloads" >"$out/$1.jsonl"
}

chmod 755 "$out"
benchmarks/dovecot.sh start "$out/dovecot" >/dev/null
echo hunter2 | .venv/bin/aerogramme account create alice@localhost --data "$out/aerogramme" --password-stdin >/dev/null
cat >"$out/aerogramme.toml" <<CONF
data = "$out/aerogramme"
imap.listen = ["127.0.0.1:2145"]
lmtp.listen = ["127.0.0.1:2027"]
limits.imap_connections_per_user = 1000 # idle-conns opens 200 for one user
CONF
.venv/bin/aerogramme serve --config "$out/aerogramme.toml" >"$out/serve.out" 2>"$out/serve.log" &
server=$!
trap 'kill $server; benchmarks/dovecot.sh stop "$out/dovecot" >/dev/null; wait' EXIT
until grep -q '^LMTP on' "$out/serve.out"; do sleep 0.1; done

bench aerogramme 2145 2027 $server alice@localhost
bench dovecot-mail-crypt 2143 2025 "$(cat "$out/dovecot/enc/run/master.pid")" alice
bench dovecot-plain 2144 2026 "$(cat "$out/dovecot/plain/run/master.pid")" alice

.venv/bin/python benchmarks/imapbench.py --ratios "$out"/{aerogramme,dovecot-mail-crypt,dovecot-plain}.jsonl
echo >&2 "the figures: $out"
