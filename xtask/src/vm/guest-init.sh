#!/bin/sh
# Pid 1 of the guest: makes it look like a machine that systemd booted with cgroup v2 alone, runs the job, and stops.
export PATH=/usr/bin HOME=/root LANG=C.UTF-8
mkdir -p /proc /sys /dev /run /tmp /root /var/lib
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid,mode=755 devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=000 devpts /dev/pts
mount -t tmpfs -o nosuid,nodev tmpfs /dev/shm
mount -t mqueue -o nosuid,nodev,noexec mqueue /dev/mqueue
mount -t tmpfs -o nosuid,nodev,mode=755 tmpfs /run
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /tmp
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
mount --make-rshared /
ln -sf /proc/self/fd /dev/fd
hostname guest
ip link set lo up
# The console translates line ends unless it is told not to.
stty -F /dev/console -onlcr 2>/dev/null
cd /root
. /guest/environment
. /guest/job
sync
# With -no-reboot this ends QEMU, and faster than a shutdown through ACPI.
reboot -f
