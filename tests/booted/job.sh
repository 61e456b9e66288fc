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

records=/var/lib/rustbox/boxes
records_mount=var-lib-rustbox-boxes.mount
prepared=/run/rustbox/prepared

# The file system that is mounted there; nothing where nothing is.
mounted() {
    findmnt --noheadings --output FSTYPE --mountpoint "$1" || true
}

get() {
    exec 9<> /dev/tcp/127.0.0.1/9090
    printf 'GET %s HTTP/1.0\r\n\r\n' "$1" >&9
    cat <&9
    exec 9>&-
}

step 'the units of a fresh worker are up'
code 0 systemctl is-active rustbox metrics-rustbox audit-rustbox.timer prepare-rustbox "$records_mount"
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

step 'runs begin from an empty mount namespace that the host sees, and begin without it'
[ "$(mounted "$prepared/mnt")" = nsfs ] || die 'prepare-rustbox.service has prepared nothing that the host sees'
# Nobody lives in it, and it is not the host's.
[ "$(stat --dereference --format %i "$prepared/mnt")" != "$(stat --dereference --format %i /proc/1/ns/mnt)" ] ||
    die "$prepared/mnt is the mount namespace of the host"
# As is a service with a mount namespace of its own: the kernel copies no file of one.
code 0 unshare --mount rustbox run -- true
code 0 systemctl restart rustbox
[ "$(mounted "$prepared/mnt")" = nsfs ] || die 'another unit has taken back what was prepared'
code 0 systemctl stop prepare-rustbox
code 0 systemctl is-active rustbox
[ ! -e "$prepared" ] || die "$prepared is left"
! grep -q " $prepared" /proc/self/mountinfo || die "something is mounted below $prepared"
[ -d /run/rustbox/uids ] || die 'the runtime directory went with what was prepared'
code 0 rustbox run -- true
code 0 systemctl start prepare-rustbox
[ "$(mounted "$prepared/mnt")" = nsfs ] || die 'nothing was prepared again'
code 0 rustbox run -- true
code 0 rustbox health --verify-clean

step 'records are in memory, and none is hidden'
[ "$(mounted "$records")" = tmpfs ] || die "$records is not in memory"
[ "$(stat --format %a:%u "$records")" = 700:0 ] || die "$records is not root's own"
code 0 findmnt --noheadings --output OPTIONS --mountpoint "$records"
sees nosuid && sees nodev && sees noexec
code 0 systemctl show --property Requires,Requisite,BindsTo,Wants rustbox
misses "$records_mount" && misses prepare-rustbox
code 0 systemctl stop rustbox
code 0 systemctl stop "$records_mount"
[ -z "$(mounted "$records")" ] || die "$records is in memory still"
mkdir "$records/hidden"
code 1 systemctl start "$records_mount"
rmdir "$records/hidden"
code 0 systemctl start "$records_mount" rustbox
[ "$(mounted "$records")" = tmpfs ] || die "$records is not in memory again"
code 0 rustbox run -- true

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
# Its record is not taken from under it.
code 1 systemctl stop "$records_mount"
[ "$(mounted "$records")" = tmpfs ] || die 'the record of a living box is gone'
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
