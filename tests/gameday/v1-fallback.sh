# A worker that is told to use cgroup v1, and runs boxes with it; on a host without v1 that is refused by name.
if ! grep -q '^[^ ]* [^ ]* [^ ]* [^ ]* [^ ]* .* - cgroup ' /proc/self/mountinfo; then
    code 122 rustbox --cgroup-backend v1 run -- true
    printf '  skipped: v1_backend: this host has no cgroup v1\n'
    for block in 1 2 3 4; do printf 'backend-mismatch %s\n' "$block" >> "$GAMEDAY/followed"; done
    return 0
fi
follow backend-mismatch 1
sees '"cgroup_backend"' '"pidfd_mode": "native"' '"namespace_support": "full"'
follow backend-mismatch 2
sees 'cgroup'
follow backend-mismatch 3
sees '^v1$'
mkdir -p /etc/rustbox
mount -t tmpfs gameday /etc/rustbox
printf '{"cgroup_backend": "v1", "strict_mode": true}\n' > /etc/rustbox/config.toml
follow backend-mismatch 4
sees 'rustbox_backend_cgroup_v1 1'
code 0 rustbox run --json -- true
sees '"cgroup_backend": ?"v1"'
