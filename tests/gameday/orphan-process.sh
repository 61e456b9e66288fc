# A process of a box is moved out of the box's cgroup by other software.
box=gameday-$$
rustbox run --box-id "$box" --code 'sleep 600' >> "$journal" 2>&1 &
run=$!
payload() {
    rustbox ps --json | jq -er --arg box "$box" \
        '.boxes[] | select(.box_id == $box) | .processes[] | select(.comm == "sleep") | .pid'
}
until_true payload
pid=$(payload)
for root in $(rustbox cgroup-root); do
    echo "$pid" > "$root/cgroup.procs"
done

follow orphan-process 1
sees "orphan_detected.*$box"
answer=$pid
follow orphan-process 2
sees 'ORPHAN CONFIRMED' "sleep"
follow orphan-process 3 1
code 0 grep -q orphan_detected /root/incident.md
code 0 jq -e . /root/incident.json
code 0 rustbox health --check
# The look without consequence is over: an audit that counts.
code 1 rustbox audit --box "$box"
code 120 rustbox run -- true
follow orphan-process 4
sees 'orphan_detected'
answer=$box
follow orphan-process 5
wait "$run" || true
follow orphan-process 3
sees containment_violation
follow orphan-process 6 '[01]'
sees '"clean":true'
misses "rustbox-$box"
code 120 rustbox run -- true

# Recovery does not lift it; a person does.
follow worker-quarantine 2
code 120 rustbox run -- true
systemctl start rustbox
follow worker-quarantine 1
sees '"quarantine_reason": "orphan_process_detected"' '"recurrence": 1' '"escalate": false'
follow worker-quarantine 3
answer='moved by the game day'
follow worker-quarantine 4

follow orphan-process 7 '[02]'
sees '"last_clean_audit":' 'rustbox_audit_last_success_timestamp_seconds' 'rustbox_audit_coverage_gaps_total'
