#!/bin/busybox sh
# Pid 1 of the initramfs: moves into a tmpfs, which pivot_root can leave, unlike this first root.
/bin/busybox mkdir /new
/bin/busybox mount -t tmpfs -o mode=755,size=90% root /new
for name in /*; do
    [ "$name" = /new ] || /bin/busybox cp -a "$name" /new/
done
exec /bin/busybox switch_root /new /guest/init
