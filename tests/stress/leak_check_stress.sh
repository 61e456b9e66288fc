#!/bin/sh
# The host before and after many boxes, compared: mounts, IPC objects, and what is left of this worker's boxes.
# Usage: leak_check_stress.sh [--iterations N]
iterations=1000
while [ $# -gt 0 ]; do
    case $1 in
        --iterations) iterations=$2 ;;
        *) echo "unknown: $1" >&2; exit 125 ;;
    esac
    shift 2
done
# shellcheck source=tests/stress/lib.sh
. "$(dirname "$0")/lib.sh"
baseline() {
    cut -d ' ' -f 5 /proc/self/mountinfo | sort
    for table in shm sem msg; do awk -v table="$table" 'NR > 1 { print table, $2 }' "/proc/sysvipc/$table"; done
    ls /dev/shm /dev/mqueue 2> /dev/null || true
}
baseline > "$place/before"
n=0
while [ "$n" -lt "$iterations" ]; do
    one "$n" || die 'a verdict is wrong'
    n=$((n + 1))
done
baseline > "$place/after"
diff "$place/before" "$place/after" || die 'the host is not as it was'
ends_clean "$n"
echo "$n boxes, and the host is as it was"
