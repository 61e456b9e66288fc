# Three cleanups in a row fail, since something is mounted where a box keeps its record and cannot be unmounted.
rustbox-capture-baseline.sh > "$GAMEDAY/before.txt"
mkfifo "$GAMEDAY/go"
for box in one two three; do
    rustbox run --box-id "$box" --code 'read -r line' < "$GAMEDAY/go" >> "$journal" 2>&1 &
    run=$!
    exec 3> "$GAMEDAY/go"
    until_true test -e "/var/lib/rustbox/boxes/$box/marks"
    mkdir "/var/lib/rustbox/boxes/$box/held"
    mount -t tmpfs gameday "/var/lib/rustbox/boxes/$box/held"
    echo go >&3
    exec 3>&-
    code 125 wait "$run"
done
(cd /var/lib/rustbox/boxes/two/held && exec sleep 600) &
holder=$!
until_true test "/proc/$holder/cwd" -ef /var/lib/rustbox/boxes/two/held
code 120 rustbox run -- true

follow cleanup-failure 1 1
sees '"failed_cleanup_count": 3' 'mount_unmount_failed: /var/lib/rustbox/boxes/three/held' \
    'rustbox_cleanup_total\{outcome="failure"\} 3' '"mounts":3'
follow cleanup-failure 2 1
sees 'done: unmounted /var/lib/rustbox/boxes/one/held' 'mount_unmount_failed: /var/lib/rustbox/boxes/two/held' 'runs are refused'
follow cleanup-failure 3
sees 'Filesystem'
follow cleanup-failure 4
# The page names the cause: what holds the mount. Ended by who looked at it, not by rustbox.
kill -0 "$holder"
kill "$holder"
wait "$holder" || true
follow cleanup-failure 2
sees 'done: box two' 'the worker is healthy'
follow cleanup-failure 5
# Cgroups and processes of living boxes may be somebody else's; those of these boxes are gone.
for file in "$GAMEDAY/before.txt" /root/rustbox-now.txt; do
    sed -i '/^\[cgroups\]$/,/^\[temp_dirs\]$/ { /rustbox-\(one\|two\|three\)$/ !d }' "$file"
done
code 0 diff "$GAMEDAY/before.txt" /root/rustbox-now.txt
