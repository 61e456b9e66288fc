#!/bin/sh
# Shows how cleanups went, and fails unless the worker is healthy. Exit codes: rustbox health --check.
set -eu
PATH=/usr/local/bin/:/usr/bin:/bin
export PATH
rustbox metrics | grep -E '^rustbox_(cleanup_total|failed_|recoveries_total)'
exec rustbox health --check
