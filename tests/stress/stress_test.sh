#!/bin/sh
# Mixed submissions, one after the other: every verdict is right, and the worker ends clean. Stops at whichever comes first.
# Usage: stress_test.sh [--duration SECONDS] [--submissions N]
duration=3600 submissions=10000
while [ $# -gt 0 ]; do
    case $1 in
        --duration) duration=$2 ;;
        --submissions) submissions=$2 ;;
        *) echo "unknown: $1" >&2; exit 125 ;;
    esac
    shift 2
done
# shellcheck source=tests/stress/lib.sh
. "$(dirname "$0")/lib.sh"
begun=$(date +%s) n=0
while [ "$n" -lt "$submissions" ] && [ $(($(date +%s) - begun)) -lt "$duration" ]; do
    one "$n" || die 'a verdict is wrong'
    n=$((n + 1))
done
ends_clean "$n"
echo "$n submissions in $(($(date +%s) - begun)) s, every verdict right, nothing left"
