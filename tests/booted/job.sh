# What needs a booted systemd: the units, the journal, and the runbooks' blocks that speak to them. As root, in a machine that
# nobody else uses; `cargo xtask debian` boots it.
export GAMEDAY=/guest GAMEDAY_BOOTED=1
# shellcheck source=tests/gameday/lib.sh
. "$GAMEDAY/lib.sh"

step() {
    # Not $SECONDS: the clock is set below.
    printf '%6s s  %s\n' "$(cut -d ' ' -f 1 /proc/uptime)" "$*"
}

journal_has() {
    journalctl --unit rustbox --no-pager | grep -Eq -- "$1"
}

metric() {
    rustbox metrics | grep -q "^$1\$"
}

get() {
    exec 9<> /dev/tcp/127.0.0.1/9090
    printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&9
    cat <&9
    exec 9>&-
}

step 'the units of a fresh worker are up'
code 0 systemctl is-active rustbox metrics-rustbox audit-rustbox.timer
code 0 systemctl --no-pager status rustbox
sees 'Active: active \(exited\)' 'health --recover' 'health --start-accepting'
[ "$(systemctl show --property Delegate --value rustbox)" = yes ] || die 'rustbox.service does not delegate'
[ "$(systemctl show --property ControlGroup --value metrics-rustbox)" = /rustbox.slice/metrics-rustbox.service ] ||
    die 'metrics-rustbox.service is not in the slice'
code 0 get /healthz
sees '200 OK' '"status": ?"healthy"'
code 0 get /metrics
sees 'rustbox_worker_quarantined 0'
code 0 rustbox run -- true
# Units' cgroups beside the boxes' are no boxes (D18).
code 0 rustbox health --verify-clean
code 0 rustbox audit --no-quarantine

step 'the timer audits at the full hour'
code 0 metric 'rustbox_audit_last_success_timestamp_seconds 0'
mkdir -p /etc/systemd/system/audit-rustbox.timer.d
printf '[Timer]\nRandomizedDelaySec=0\nAccuracySec=1s\n' > /etc/systemd/system/audit-rustbox.timer.d/now.conf
systemctl daemon-reload
systemctl restart audit-rustbox.timer
date --set "$(date +%F) $(date +%H):59:58" > /dev/null
audited() { ! metric 'rustbox_audit_last_success_timestamp_seconds 0'; }
until_true audited
[ "$(systemctl show --property Result --value audit-rustbox)" = success ] || die "the timer's audit was not clean"
code 0 systemctl --no-pager list-timers audit-rustbox.timer
sees 'audit-rustbox.service'

step 'systemctl stop refuses runs and ends boxes'
box=stopped
rustbox run --box-id "$box" --code 'sleep 600' > /dev/null 2>&1 &
run=$!
in_the_box() {
    rustbox ps --json | jq -er --arg box "$box" \
        '.boxes[] | select(.box_id == $box) | .processes[] | select(.comm == "sleep") | .pid'
}
until_true in_the_box
systemctl stop rustbox
code 137 wait "$run"
code 120 rustbox run -- true
sees 'service_stopped' 'systemctl start rustbox'
code 3 systemctl --no-pager status rustbox
systemctl start rustbox
code 0 rustbox run -- true

step 'the watch tells an escape, and the worker quarantines itself'
systemctl start watch-rustbox
box=escaped
rustbox run --box-id "$box" --code 'sleep 600' > /dev/null 2>&1 &
run=$!
until_true in_the_box
pid=$(in_the_box)
for root in $(rustbox cgroup-root); do
    echo "$pid" > "$root/cgroup.procs"
done
until_true journal_has 'containment_violation orphan_detected'
until_true journal_has 'worker_quarantined'
code 120 rustbox run -- true
code 0 get /healthz
sees '503 Service Unavailable' 'orphan_process_detected'
code 0 systemctl is-active watch-rustbox
# The hourly audit finds it too, and fails as a unit.
code 1 systemctl start audit-rustbox
code 3 systemctl --no-pager status audit-rustbox
sees 'status=1/FAILURE'

step 'orphan-process.md, with systemctl and journalctl'
follow orphan-process 3
sees 'containment_violation orphan_detected'
answer=$box
follow orphan-process 5
wait "$run" || true
follow orphan-process 6
sees '"clean":true'
misses "rustbox-$box"
code 120 rustbox run -- true
systemctl start rustbox
follow worker-quarantine 3
answer='moved by the test'
follow worker-quarantine 4

step 'stale-state.md, with systemctl'
# shellcheck source=tests/gameday/stale-state.sh
. "$GAMEDAY/stale-state.sh"
ends_healthy
code 0 get /healthz
sees '200 OK'
step 'done'
