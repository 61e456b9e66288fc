# An operator takes a worker out and puts it back; its state is damaged, and it takes itself out.
follow worker-quarantine 6
code 120 rustbox run -- true
follow README 1
sees '"status": "quarantined"' '"next"'
follow worker-quarantine 1
sees '"quarantine_reason": "maintenance"' '"review_required": true' 'quarantined	maintenance'
follow worker-quarantine 2
code 120 rustbox run -- true
follow worker-quarantine 3
sees '^\{"clean":true,"mounts":0,"cgroups":0,"processes":0,"temp_dirs":0\}$'
answer='a drill, by nobody'
follow worker-quarantine 4
sees 'the worker is healthy'
code 0 jq -e 'select(.what == "unquarantined") | .reason == "a drill, by nobody" and .forced == false' \
    /var/lib/rustbox/health/quarantine-history.json

# The power goes in the middle of a write, on a file system that does not keep its promise.
truncate --size=-7 /var/lib/rustbox/health/state.json
code 120 rustbox run -- true
follow worker-quarantine 5
sees 'state.json.corrupt-' 'state_corrupted'
follow worker-quarantine 3
answer='the disk was changed'
follow worker-quarantine 4

# Every script works with next to no environment, as cron starts it. 1 is a finding: others may be at work on this host.
for script in /usr/local/bin/rustbox-*.sh; do
    found=0
    env -i PATH=/usr/bin:/bin "$script" > "$out" 2>&1 || found=$?
    [ "$found" -le 1 ] || die "$script ended with $found"
    [ -s "$out" ] || [ "$found" = 0 ] || die "$script failed without a word"
done
printf '  every script ran with an empty environment\n'
