# What every game day begins with; sourced by bash, as root, in a mount namespace of its own.
#
# $GAMEDAY is a directory with `installed` (what `cargo xtask install` made) and `runbooks`. The host is the real one, but for
# what rustbox keeps: its places are empty here, so that a day breaks nobody else's worker. Commands of a runbook are run as they
# stand on the page; nothing of them is repeated in a day. With $GAMEDAY_BOOTED the host is a machine of its own, with a booted
# systemd: nothing is covered there, and nothing stands in for anything.
set -euo pipefail
export LC_ALL=C PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
unset "${!RUSTBOX_@}"

out=$GAMEDAY/out
journal=$GAMEDAY/journal
: > "$journal"
if [ -z "${GAMEDAY_BOOTED-}" ]; then
    mount --bind "$GAMEDAY/installed/usr/local" /usr/local
    for place in /var/lib /run /root; do
        mount -t tmpfs -o mode=0755 gameday "$place"
    done
    systemd-tmpfiles --create /usr/local/lib/tmpfiles.d/rustbox.conf
fi
cd /

die() {
    printf 'GAME DAY FAILED: %s\n' "$*" >&2
    [ ! -s "$out" ] || sed 's/^/  | /' "$out" >&2
    exit 1
}

# A day that fails leaves nothing either: what it has started ends, and its cgroups go.
leave_nothing() {
    local job
    for job in $(jobs -p); do
        kill "$job" 2> /dev/null || true
    done
    wait
    find /sys/fs/cgroup -maxdepth 3 -name "rustbox-gameday-$$*" -type d -exec rmdir {} + 2> /dev/null || true
}
trap leave_nothing EXIT

# Runs block N of a page: follow PAGE N [EXIT CODE]. $answer is what is typed when the block asks.
answer=
follow() {
    local page=$1 number=$2 expected=${3:-0} code=0
    awk -v n="$number" '/^```sh$/ { k++; on = (k == n); next } /^```$/ { on = 0 } on' \
        "$GAMEDAY/runbooks/$page.md" > "$GAMEDAY/block"
    [ -s "$GAMEDAY/block" ] || die "$page.md has no command block $number"
    printf '%s %s\n' "$page" "$number" >> "$GAMEDAY/followed"
    bash "$GAMEDAY/block" > "$out" 2>&1 <<< "$answer" || code=$?
    # A pattern: where others work on the same host, [01] is what `find` may end with.
    # shellcheck disable=SC2053
    [[ $code == $expected ]] || die "$page.md, block $number ended with $code and not $expected"
    printf '  followed %s.md, block %s\n' "$page" "$number"
}

# What the page says will be seen: sees PATTERN...
sees() {
    local pattern
    for pattern; do
        grep -Eq -- "$pattern" "$out" || die "this was not seen: $pattern"
    done
}

misses() {
    ! grep -Eq -- "$1" "$out" || die "this was seen: $1"
}

# Runs a command of the day itself, with the exit code that it must have: code N COMMAND...
code() {
    local expected=$1 found=0
    shift
    "$@" > "$out" 2>&1 || found=$?
    cat "$out" >> "$journal"
    [ "$found" = "$expected" ] || die "$* ended with $found and not $expected"
}

# Waits for what a command says, without a fixed time: until_true COMMAND...
until_true() {
    local end=$((SECONDS + 20))
    until "$@" > /dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || die "waited in vain for: $*"
    done
}

ends_healthy() {
    code 0 rustbox health --check
    code 0 rustbox run -- true
    code 0 rustbox health --verify-clean
    printf '  ended healthy\n'
}

# No systemd is booted here. Stand-ins: `systemctl` runs what the installed unit would, `journalctl` shows what rustbox has logged.
stand_ins() {
    cat > "$GAMEDAY/installed/usr/local/bin/systemctl" <<'STAND_IN'
#!/bin/bash
set -eu
[ "$2" = rustbox ] || { echo "stand-in for systemctl: only rustbox, and not $2" >&2; exit 1; }
case $1 in
    start) key=ExecStart ;;
    stop) key=ExecStop ;;
    *) echo "stand-in for systemctl: no $1" >&2; exit 1 ;;
esac
sed -n "s/^$key=//p" /usr/local/lib/systemd/system/rustbox.service | while read -r line; do $line < /dev/null; done
STAND_IN
    cat > "$GAMEDAY/installed/usr/local/bin/journalctl" <<STAND_IN
#!/bin/sh
cat "$journal"
STAND_IN
    chmod 0755 "$GAMEDAY/installed/usr/local/bin/systemctl" "$GAMEDAY/installed/usr/local/bin/journalctl"
    printf '  stand-ins for systemctl and journalctl: `cargo xtask debian` has the real ones\n'
}
[ -n "${GAMEDAY_BOOTED-}" ] || stand_ins
