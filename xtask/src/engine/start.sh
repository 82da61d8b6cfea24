#!/bin/sh
# Prepares the private mount namespace that it runs in, then becomes dockerd.
# Environment: RUN (run-time directory), DATA (data root), BRIDGE, ADDRESS (of the bridge),
# ROOT (directory to chroot into, empty for none).
set -eu

# Containers belong into the unified tree, where BPF sees them. On a hybrid machine dockerd would
# find the v1 controllers first; here it finds what a machine of today has.
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ]; then
    if [ -d /sys/fs/cgroup/unified ]; then
        mount --rbind /sys/fs/cgroup/unified /sys/fs/cgroup
    else
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
    fi
fi

ip link show dev "$BRIDGE" >/dev/null 2>&1 || ip link add name "$BRIDGE" type bridge
# Without an address of its own a bridge takes the lowest of its ports: another one whenever a container comes or goes, and
# what a third one is just answering is sent to nobody, for up to a minute. Made of the network's address, as docker does.
IFS=./ read -r a b c d _ <<EOF
$ADDRESS
EOF
ip link set dev "$BRIDGE" address "$(printf '02:42:%02x:%02x:%02x:%02x' "$a" "$b" "$c" "$d")"
ip address replace "$ADDRESS" dev "$BRIDGE"
ip link set dev "$BRIDGE" up

[ -n "$ROOT" ] || exec dockerd --config-file "$RUN/daemon.json"

# runc's pivot_root wants the root to be a mount point. Run-time directory and data keep their
# names inside, so that what the engine and the kernel say of them is true outside as well.
mount --bind "$ROOT" "$ROOT"
for directory in proc dev sys; do
    mount --rbind "/$directory" "$ROOT/$directory"
done
mount -t tmpfs tmpfs "$ROOT/run"
mount -t tmpfs tmpfs "$ROOT/tmp"
mkdir -p "$ROOT$RUN" "$ROOT$DATA"
mount --bind "$RUN" "$ROOT$RUN"
mount --bind "$DATA" "$ROOT$DATA"
exec chroot "$ROOT" /usr/sbin/dockerd --config-file "$RUN/daemon.json"
