#!/usr/bin/env bash
# Installs the Debian package in a minimal Debian of its own, runs it as its service under that one's systemd, upgrades, removes and
# purges it: `bash test/tooling/debianPackage.sh [bookworm|trixie] [FILE.deb]`. Without a file the package is made of `dist`. Needs
# root. Nothing of it stays.
set -euo pipefail
cd "$(dirname "$0")/../.."
suite=${1:-bookworm}
say() { printf -- '-- %s (%d s)\n' "$*" "$SECONDS"; }
fail() {
  echo "the Debian package: $*" >&2
  exit 1
}

# All mounts and processes end with the first process.
if [ "${3:-}" != inside ]; then
  [ "$(id -u)" -eq 0 ] || fail "only root can install it — run it with sudo"
  folder=$(mktemp -d)
  trap 'rm -rf --one-file-system "$folder"' EXIT
  if [ -n "${2:-}" ]; then cp "$2" "$folder/sallyport.deb"; else
    node test/tooling/packageDeb.ts --out "$folder"
    mv "$folder"/sallyport_*.deb "$folder/sallyport.deb"
  fi
  unshare --mount --pid --mount-proc --ipc --uts --fork --kill-child timeout --kill-after=10 1200 bash "$0" "$suite" "$folder" inside ||
    fail "it ended with $?; the last lines: $(tail -n 20 "$folder/log" 2>/dev/null)"
  exit 0
fi

folder=$2
machine=$folder/machine
log=$folder/log

mirror=$(bash test/tooling/debianMirror.sh) || fail "apt knows no Debian mirror — see /etc/apt/sources.list"

say "a minimal $suite with systemd"
mkdir "$machine"
# In memory: each of its packages is synced to the disk, which takes minutes where others write too.
mount -t tmpfs -o size=2g,mode=755 tmpfs "$machine"
timeout 600 debootstrap --variant=minbase --include=systemd-sysv,dbus "$suite" "$machine" "$mirror" >"$log" 2>&1
mount -t proc proc "$machine/proc"
cat /etc/resolv.conf >"$machine/etc/resolv.conf"
cat /etc/hosts >"$machine/etc/hosts"
apt-config dump | grep -E '^Acquire::https?::' >"$machine/etc/apt/apt.conf.d/80acquire" || true
environment=(HOME=/root LANG=C.UTF-8 TERM=dumb DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin)
cp "$folder/sallyport.deb" "$machine/root/now.deb"

say "installed with what it depends on"
chroot "$machine" env -i "${environment[@]}" sh -ec 'timeout 120 apt-get -qq update
  timeout 240 apt-get -qq install -y --no-install-recommends /root/now.deb && sallyport --version' >>"$log" 2>&1
# The same, one version later.
dpkg-deb -R "$folder/sallyport.deb" "$folder/next"
sed -i 's/^Version: .*/&+next/' "$folder/next/DEBIAN/control"
dpkg-deb -Znone --build "$folder/next" "$machine/root/next.deb" >>"$log"

cat >"$machine/root/story" <<'STORY'
set -eu
said() { printf '   %s\n' "$*"; }
gateway() { systemctl show -p MainPID --value sallyport; }
ip link set lo up
i=0
# Degraded: what belongs to the hardware may fail in a container.
until systemctl is-system-running 2>&1 | grep -qE '^(running|degraded)$'; do
  i=$((i + 1))
  [ "$i" -lt 300 ] || exit 1
  sleep 0.2
done

systemd-analyze verify sallyport.service
exposure=$(systemd-analyze security --offline=true sallyport.service | sed -n 's/.*: \([0-9.]*\) .*/\1/p' | tail -n 1)
awk "BEGIN { exit !($exposure <= 3.0) }"
said "exposure $exposure"

# So that the watchdog need not be waited for.
mkdir -p /etc/systemd/system/sallyport.service.d
printf '[Service]\nWatchdogSec=6\n' >/etc/systemd/system/sallyport.service.d/soon.conf
systemctl daemon-reload

sallyport init --endpoint 127.0.0.1:51820
systemctl start sallyport
systemctl show -p StatusText --value sallyport | grep -q 'clients connected'
sallyport client add alice --group staff >/dev/null
sallyport status | grep '^alice'
grep -qx 'CapEff:	0000000000801400' "/proc/$(gateway)/status"
[ "$(stat -c %U "/proc/$(gateway)")" = sallyport ]
said "runs as $(stat -c %U "/proc/$(gateway)"): $(systemctl show -p StatusText --value sallyport)"
key=$(sallyport status | sed -n 's/.*, key //p')
[ -n "$key" ]

systemctl reload sallyport
cp -a /etc/sallyport/sallyport.yaml /root/right
echo 'nonsense: 1' >>/etc/sallyport/sallyport.yaml
! systemctl reload sallyport 2>/dev/null
systemctl is-active --quiet sallyport
cp -a /root/right /etc/sallyport/sallyport.yaml
systemctl reload sallyport
said "reloads, and stays where the file is wrong"

kill -STOP "$(gateway)"
before=$(gateway)
i=0
while [ "$(gateway)" = "$before" ] || ! systemctl is-active --quiet sallyport; do
  i=$((i + 1))
  [ "$i" -lt 120 ] || exit 1
  sleep 1
done
said "is started anew when it does not answer"

before=$(gateway)
echo 'SALLYPORT_OFFLOADS=all' >>/etc/default/sallyport
dpkg -i /root/next.deb >/dev/null
[ "$(gateway)" != "$before" ] && systemctl is-active --quiet sallyport
sallyport status | grep -q "key $key"
sallyport status | grep -q '^alice'
grep -q '^SALLYPORT_OFFLOADS=all' /etc/default/sallyport
said "is upgraded: the same key, the same clients, another process"

dpkg --remove sallyport >/dev/null
! systemctl is-active --quiet sallyport
[ -e /etc/sallyport/sallyport.yaml ] && [ -e /var/lib/private/sallyport/state.db ]
dpkg --purge sallyport | grep -q 'stays'
[ -e /etc/sallyport/sallyport.yaml ] && [ -e /var/lib/private/sallyport/state.db ] && [ ! -e /etc/default/sallyport ]
dpkg -i /root/now.deb >/dev/null
systemctl start sallyport
sallyport status | grep -q "key $key"
SALLYPORT_PURGE=yes dpkg --purge sallyport >/dev/null
[ ! -e /etc/sallyport ] && [ ! -e /var/lib/private/sallyport ] && [ ! -e /usr/lib/sallyport ]
! getent passwd sallyport
said "is purged only when somebody says so"
STORY

# Its own network and control groups; /dev as udev leaves it.
umount "$machine/proc"
cat >"$folder/boot" <<'BOOT'
set -e
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs sysfs sys
mkdir -p sys/fs/cgroup
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/net dev/pts dev/shm
ln -s /proc/self/fd dev/fd
while read -r name major minor; do mknod -m 666 "dev/$name" c "$major" "$minor"; done <<NODES
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
net/tun 10 200
NODES
# systemd of Debian 13 does not begin in a chroot.
mkdir -p .outside
pivot_root . .outside
umount -l /.outside
exec env -i container=test /lib/systemd/systemd --system --show-status=0
BOOT
say "started with its systemd"
unshare --mount --pid --net --uts --ipc --cgroup --fork --kill-child bash "$folder/boot" "$machine" >>"$log" 2>&1 &
outside=$!
for _ in $(seq 100); do
  first=$(pgrep -P "$outside" | head -n 1) || true
  [ -z "$first" ] || [ "$(cat "/proc/$first/comm")" != systemd ] || break
  sleep 0.1
done
(cd / && nsenter -t "$first" -m -p -n -u -i -C -r -w env -i "${environment[@]}" timeout 300 bash /root/story) 2>>"$log" </dev/null ||
  fail "the story did not come to its end: $(tail -n 20 "$log")"
say "installs, runs, reloads, is watched, upgrades and goes"
