#!/bin/sh
# Prints what boxes could change on this host, sorted: two outputs can be compared with diff.
set -eu
PATH=/usr/local/bin/:/usr/bin:/bin
export PATH
state=${RUSTBOX_STATE_DIR:-/var/lib/rustbox}
runtime=${RUSTBOX_RUNTIME_DIR:-/run/rustbox}
roots=$(rustbox cgroup-root)
printf '%s\n' '[mounts]'
cut -d ' ' -f 5 /proc/self/mountinfo | LC_ALL=C sort
printf '%s\n' '[cgroups]'
printf '%s\n' "$roots" | while IFS= read -r root; do
    find "$root" -maxdepth 1 -type d -name 'rustbox-*'
done | LC_ALL=C sort
printf '%s\n' '[processes]'
printf '%s\n' "$roots" | head -n 1 | while IFS= read -r root; do
    find "$root" -maxdepth 2 -path '*/rustbox-*/cgroup.procs' -exec cat {} +
done | LC_ALL=C sort -n
printf '%s\n' '[temp_dirs]'
for directory in "$state/boxes" "$runtime"; do
    [ ! -d "$directory" ] || find "$directory" -mindepth 1 -maxdepth 1 -type d ! -path "$runtime/uids" ! -path "$runtime/prepared"
done | LC_ALL=C sort
printf '%s\n' '[ipc]'
for table in shm sem msg; do
    [ ! -r "/proc/sysvipc/$table" ] || awk -v table="$table" 'NR > 1 { print table, $2 }' "/proc/sysvipc/$table"
done | LC_ALL=C sort
