#!/bin/sh
# Removes the cgroups of dead boxes, or of the boxes that are named. Exit codes: rustbox cleanup.
set -eu
PATH=/usr/local/bin/:/usr/bin:/bin
export PATH
if [ "$#" -eq 0 ]; then
    exec rustbox cleanup
fi
worst=0
for box in "$@"; do
    rustbox cleanup "$box" || worst=$?
done
exit "$worst"
