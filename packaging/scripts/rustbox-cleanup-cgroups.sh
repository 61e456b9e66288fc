#!/bin/sh
# Removes the cgroups of dead boxes, or of the boxes that are named. Exit codes: rustbox cleanup, the worst of them.
set -eu
PATH=/usr/local/bin/:/usr/bin:/bin
export PATH
if [ "$#" -eq 0 ]; then
    exec rustbox cleanup
fi
worst=0
for box in "$@"; do
    code=0
    rustbox cleanup "$box" || code=$?
    [ "$code" -le "$worst" ] || worst=$code
done
exit "$worst"
