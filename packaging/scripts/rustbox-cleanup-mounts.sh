#!/bin/sh
# Unmounts what is mounted below directories of dead boxes, deepest first and never lazily. Rustbox mounts nothing there.
set -eu
PATH=/usr/local/bin/:/usr/bin:/bin
export PATH
left=$(rustbox health --verify-clean 2>&1 >/dev/null | sed -n 's/^rustbox: left: mount //p' | sort -r)
printf '%s\n' "$left" | while IFS= read -r point; do
    [ -z "$point" ] || umount -- "$point"
done
