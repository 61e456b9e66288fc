# A small Debian into which rustbox was installed, as a container's root; run by `cargo xtask debian`, as root.
set -euo pipefail
unset "${!RUSTBOX_@}"
out=/root/out

die() {
    printf 'CONTAINER FAILED: %s\n' "$*" >&2
    [ ! -s "$out" ] || sed 's/^/  | /' "$out" >&2
    exit 1
}

# code PATTERN COMMAND...: runs a command, which must end so.
code() {
    local expected=$1 found=0
    shift
    "$@" > "$out" 2>&1 || found=$?
    # shellcheck disable=SC2053
    [[ $found == $expected ]] || die "$* ended with $found and not $expected"
}

[ "$(stat -c %a:%u /var/lib/rustbox)" = 700:0 ] || die 'systemd-tmpfiles did not make /var/lib/rustbox'
[ "$(readlink /usr/local/bin/rustbox-cli)" = rustbox ] || die 'rustbox-cli is not the second name'
code 0 rustbox --version
# This is all that a fresh worker knows of itself.
code 0 rustbox health
code 0 jq -e '.status == "healthy" and .can_accept_submissions' "$out"
code 0 rustbox doctor
code 0 rustbox run --json -- cat /usr/lib/os-release
grep -q '"status": *"OK"' "$out" || die 'no box could be run'
# Others may be at work on the same kernel: what they leave for a moment is a finding.
for script in /usr/local/bin/rustbox-*.sh; do
    code '[01]' env -i PATH=/usr/bin:/bin "$script"
done
code 0 rustbox health --check
code 0 rustbox --dry-run run --code 'echo test'
code 0 bash -n /usr/local/share/bash-completion/completions/rustbox
[ -s /usr/local/share/man/man1/rustbox.1 ] || die 'no manual page'
printf 'installed into a small Debian: health, doctor, a box, and %s scripts with an empty environment\n' \
    "$(find /usr/local/bin -name 'rustbox-*.sh' | wc -l)"
# The root is booted afterwards, as a worker that has never run.
rm -rf /var/lib/rustbox/* /run/rustbox/* "$out"
