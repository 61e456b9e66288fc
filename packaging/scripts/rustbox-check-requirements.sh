#!/bin/sh
# The same as rustbox-audit-capabilities.sh, under the name that the runbooks use before an installation.
set -eu
PATH=/usr/local/bin/:/usr/bin:/bin
export PATH
exec rustbox doctor "$@"
