#!/bin/sh
# A disk, inodes, descriptors and CPUs that are used up: each is a clear refusal or a good run, and the worker ends clean.
# Usage: resource_exhaustion.sh
[ $# -eq 0 ] || { echo "unknown: $1" >&2; exit 125; }
if [ -z "${IN_NAMESPACE:-}" ]; then
    IN_NAMESPACE=1 exec unshare --mount --propagation private sh "$0"
fi
# shellcheck source=tests/stress/lib.sh
. "$(dirname "$0")/lib.sh"
ends_with() {
    expected=$1 found=0
    shift
    "$@" > "$place/out" 2>&1 || found=$?
    [ "$found" = "$expected" ] || die "$* ended with $found and not $expected: $(cat "$place/out")"
}
n=0
mkdir -m 700 "$RUSTBOX_STATE_DIR"
for options in size=8M size=1G,nr_inodes=64; do
    mount -t tmpfs -o "mode=0700,$options" stress "$RUSTBOX_STATE_DIR"
    ends_with 120 "$RUSTBOX" run -- true
    grep -q resource_exhaustion "$place/out" || die "no reason: $(cat "$place/out")"
    umount "$RUSTBOX_STATE_DIR"
done
found=0
# shellcheck disable=SC3045 # every sh of a Linux system has it
(ulimit -n 16 && "$RUSTBOX" run -- true) > "$place/out" 2>&1 || found=$?
case $found in
    0) ;;
    125) grep -q 'Too many open files' "$place/out" || die "no reason: $(cat "$place/out")" ;;
    *) die "16 descriptors: $found: $(cat "$place/out")" ;;
esac
# A box that was begun and failed is counted, a refused one is not.
n=$("$RUSTBOX" metrics | sed -n 's/^rustbox_executions_total //p')
burners=
for _ in $(seq $(($(nproc) * 2))); do
    timeout 30 sh -c 'while :; do :; done' &
    burners="$burners $!"
done
for _ in $(seq 10); do
    ends_with 0 "$RUSTBOX" run --wall-time 20s -- true
    n=$((n + 1))
done
# shellcheck disable=SC2086 # a list
kill $burners
ends_clean "$n"
echo "each shortage was refused by its name or made no difference"
