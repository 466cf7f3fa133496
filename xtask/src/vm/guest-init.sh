#!/bin/sh
# PID 1 of a guest. In: the disks that QEMU gives it: the root (this file is on it), the payload (`run`: the command;
# `tree`: files of the host; `folders`: those of its folders that are shown at their own place), and an empty one for
# results. Out: whatever the command leaves in /results, its exit code among it. It must always end by powering off: QEMU ends with it.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin HOME=/root LANG=C.UTF-8

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t tmpfs -o mode=755 tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs tmpfs /results
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t securityfs securityfs /sys/kernel/security
for link in fd:fd stdin:fd/0 stdout:fd/1 stderr:fd/2; do
    ln -sfn "/proc/self/${link#*:}" "/dev/${link%%:*}"
done
hostname podsweep-guest
# Nobody loads these on demand: there is no udev, and no device node without the module.
modprobe -a virtio_pci virtio_blk loop fuse
ip link set lo up

# cgroup2 alone. A cgroup that hands controllers to its children may hold no process itself: so PID 1 leaves the root.
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir /sys/fs/cgroup/init
echo 1 > /sys/fs/cgroup/init/cgroup.procs
for controller in cpu io memory pids; do
    echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control
done

# The host waits for this line.
echo "podsweep-guest: up" > /dev/console

mount /dev/vda /payload
while read -r folder; do
    mkdir -p "$folder"
    mount --bind "/payload/tree$folder" "$folder"
done < /payload/folders

# The second serial line is the command's; the first is the kernel's alone.
if [ -e /payload/interactive ]; then
    setsid -c /payload/run < /dev/ttyS1 > /dev/ttyS1 2>&1
else
    stty -F /dev/ttyS1 raw -echo
    /payload/run < /dev/null > /dev/ttyS1 2>&1
fi
echo $? > /results/exit-code

tar -cf /dev/vdb -C /results .
sync
poweroff -f
