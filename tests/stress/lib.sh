# shellcheck shell=sh
# What the stress scripts share; sourced. $RUSTBOX is the program, and every worker is a new one below /var/lib.
set -eu
RUSTBOX=${RUSTBOX:-rustbox}
place=$(mktemp -d /var/lib/rustbox-stress-XXXXXX)
trap 'rm -rf "$place"' EXIT
RUSTBOX_STATE_DIR=$place/state
RUSTBOX_RUNTIME_DIR=$place/runtime
export RUSTBOX RUSTBOX_STATE_DIR RUSTBOX_RUNTIME_DIR place

die() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# One submission: see there.
one() {
    sh "$(dirname "$0")/one.sh" "$1"
}

# What must be true of a worker after any number of boxes.
ends_clean() {
    "$RUSTBOX" health --recover || die 'recovery left something'
    "$RUSTBOX" health --verify-clean || die 'not clean'
    "$RUSTBOX" health --check || die 'not healthy'
    counted=$("$RUSTBOX" metrics | sed -n 's/^rustbox_executions_total //p')
    [ "$counted" = "$1" ] || die "$1 boxes ran, and $counted are counted"
    "$RUSTBOX" metrics | grep -E '^rustbox_executions_by_status' | grep -v ' 0$'
}
