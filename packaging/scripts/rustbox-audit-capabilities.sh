#!/bin/sh
# Tries everything that boxes need of this host. Exit codes: rustbox doctor.
set -eu
PATH=/usr/local/bin/:/usr/bin:/bin
export PATH
exec rustbox doctor "$@"
