# mounts.sh: a filesystem for /var/lib/bfp, which nobody else writes to, from a file that the harness makes; and an
# overlay, of whose layers one is on the disk and one in memory, with a program in each. The folder of the first is in
# both layers.
set -e
PATH=$PATH:/usr/sbin
mkdir -p /run/week/log /run/week/layer
mount -t tmpfs -o mode=755 layer /run/week/layer
mkdir -p /run/week/layer/work /run/week/layer/upper/lower/bin /run/week/layer/upper/upper/bin
cp /usr/bin/probe /run/week/layer/upper/upper/bin/agent
mount -t overlay -o lowerdir=/opt/layer,upperdir=/run/week/layer/upper,workdir=/run/week/layer/work overlay /opt/merged
mkdir -p -m 700 /var/lib/bfp
# Nobody has made the devices of a module yet.
modprobe loop
mount -o loop /var/bfp.disk /var/lib/bfp
# A loss of power may give some of it back.
[ ! -e /var/lib/bfp/full.last ] || sh /opt/week/fill.sh
