#!/bin/sh
# Mixed submissions, many at once, from a queue that is never longer than they are.
# Usage: concurrent_stress.sh [--duration SECONDS] [--concurrency N]
duration=1800 concurrency=100
while [ $# -gt 0 ]; do
    case $1 in
        --duration) duration=$2 ;;
        --concurrency) concurrency=$2 ;;
        *) echo "unknown: $1" >&2; exit 125 ;;
    esac
    shift 2
done
# shellcheck source=tests/stress/lib.sh
. "$(dirname "$0")/lib.sh"
begun=$(date +%s) n=0
while [ $(($(date +%s) - begun)) -lt "$duration" ]; do
    seq "$n" $((n + concurrency * 4 - 1)) | xargs -P "$concurrency" -I N sh "$(dirname "$0")/one.sh" N ||
        die 'a verdict is wrong'
    n=$((n + concurrency * 4))
done
ends_clean "$n"
echo "$n submissions, $concurrency at once, in $(($(date +%s) - begun)) s, every verdict right, nothing left"
