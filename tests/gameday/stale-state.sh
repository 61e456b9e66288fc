# Supervisors and their keepers were killed at once: records, a cgroup with a process in it, a torn record.
code 0 rustbox ps
root=$(rustbox cgroup-root | head -1)
box=gameday-$$
mkdir "/var/lib/rustbox/boxes/$box" "/var/lib/rustbox/boxes/$box-torn" "$root/rustbox-$box"
sleep 600 &
member=$!
echo "$member" > "$root/rustbox-$box/cgroup.procs"
# The record names pid 1, which nobody may signal for it.
printf '{"schema":"rustbox.record/v1","box_id":"%s","pid":1}\n' "$box" > "/var/lib/rustbox/boxes/$box/lock"
printf '{"schema":"rust' > "/var/lib/rustbox/boxes/$box-torn/lock"

follow stale-state 1 1
sees "$box" '"clean":false' '"temp_dirs":2'
answer=$box
follow stale-state 2 '[01]'
sees '"pid":1' "rustbox-$box"
follow stale-state 3
sees "done: box $box" '"clean":true'
code 137 wait "$member"
follow stale-state 4
follow stale-state 5
sees '"clean":true'
