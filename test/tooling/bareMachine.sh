#!/usr/bin/env bash
# The README's two commands on a bare machine: a minimal Debian 12 in a temporary folder, whose Node and npm are Debian's,
# without the packages that these only recommend. The first command runs to its end, the second one until its first fast
# test file has passed. Needs root; `bash test/tooling/bareMachine.sh`, three to five minutes. Nothing of it stays.
set -euo pipefail
cd "$(dirname "$0")/../.."
say() { printf -- '-- %s (%d s)\n' "$*" "$SECONDS"; }
fail() {
  echo "the bare machine: $*" >&2
  exit 1
}

# Everything happens in namespaces of their own, so that all mounts and processes end with their first process.
if [ "${1:-}" != inside ]; then
  [ "$(id -u)" -eq 0 ] || fail "only root can make it — run it with sudo"
  folder=$(mktemp -d)
  outside=
  clean() {
    trap '' HUP INT TERM
    if [ -n "$outside" ]; then kill -KILL "$outside" 2>/dev/null; wait "$outside" 2>/dev/null || true; fi
    # Its processes may take a moment to be gone.
    for _ in 1 2 3 4 5 6 7 8 9; do rm -rf --one-file-system "$folder" 2>/dev/null && return || sleep 1; done
    rm -rf --one-file-system "$folder"
  }
  trap clean EXIT
  trap 'exit 130' HUP INT TERM
  unshare --mount --pid --ipc --fork --kill-child timeout --kill-after=10 1200 bash test/tooling/bareMachine.sh inside "$folder" &
  outside=$!
  wait "$outside" && code=0 || code=$?
  outside=
  [ "$code" -ne 124 ] || fail "no end within 20 minutes"
  exit "$code"
fi

folder=$2
machine=$folder/machine
mapfile -t commands < <(grep -oE '^npm ci && npm (run demo|test)\b' README.md)
[ "${#commands[@]}" -eq 2 ] || fail "the README shows ${#commands[@]} commands that begin with npm ci, not two"

# Packages come from where this machine gets its own, over its proxies, if any.
mirror=$(bash test/tooling/debianMirror.sh) || fail "apt knows no Debian mirror — see /etc/apt/sources.list"
eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
[ -z "${http_proxy:-}" ] || export http_proxy
[ -z "${https_proxy:-}" ] || export https_proxy

say "a minimal Debian, with nodejs and npm"
# The temporary folder may not allow devices.
mkdir "$machine"
mount --bind "$machine" "$machine"
mount -o remount,bind,dev,exec,suid "$machine"
timeout 600 debootstrap --variant=minbase bookworm "$machine" "$mirror" >"$folder/log" 2>&1 || fail "debootstrap: $(tail -n 3 "$folder/log")"
mount -t proc proc "$machine/proc"
mount -t sysfs sysfs "$machine/sys"
mkdir "$machine/dev/net"
mknod -m 666 "$machine/dev/net/tun" c 10 200
cat /etc/resolv.conf >"$machine/etc/resolv.conf"
cat /etc/hosts >"$machine/etc/hosts"
apt-config dump | grep -E '^Acquire::https?::' >"$machine/etc/apt/apt.conf.d/80acquire" || true

# npm, too, asks where this machine's npm asks, and trusts whom it trusts.
environment=(HOME=/root LANG=C.UTF-8 TERM=dumb NO_COLOR=1 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  [ -z "${!name:-}" ] || environment+=("$name=${!name}")
done
for key in registry proxy https-proxy noproxy strict-ssl; do
  value=$(cd / && npm config get "$key")
  case $value in null | undefined | '') ;; *) environment+=("npm_config_${key//-/_}=$value") ;; esac
done
for file in "$(cd / && npm config get cafile)" "${NODE_EXTRA_CA_CERTS:-}"; do
  if [ -f "$file" ]; then cat "$file" >>"$machine/etc/trusted.pem"; fi
done
[ ! -e "$machine/etc/trusted.pem" ] || environment+=(npm_config_cafile=/etc/trusted.pem)

in_machine() { chroot "$machine" env -i "${environment[@]}" sh -c "$1" </dev/null; }
in_machine 'export DEBIAN_FRONTEND=noninteractive
  timeout 300 apt-get -qq update && timeout 300 apt-get -qq install -y --no-install-recommends nodejs npm && apt-get clean' \
  >"$folder/log" 2>&1 || fail "nodejs and npm cannot be installed: $(tail -n 3 "$folder/log")"
in_machine 'echo "node $(node --version), npm $(npm --version)"'
in_machine 'ldconfig -p | grep -q libatomic' && fail "libatomic is there already, so that its lack is not tested"

# Whoever owns the project: git refuses the repositories of others.
printf '[safe]\n\tdirectory = *\n' >"$folder/gitconfig"
GIT_CONFIG_GLOBAL=$folder/gitconfig timeout 120 git clone -q "file://$PWD" "$machine/root/clone"

say "${commands[0]}"
in_machine "cd /root/clone && ${commands[0]}" 2>&1 | tee "$folder/first" || fail "\"${commands[0]}\" ended with an error"
! grep -qiE 'EBADENGINE|npm warn' "$folder/first" || fail "\"${commands[0]}\" shows warnings"
grep -q 'That was all of it' "$folder/first" || fail "the demo did not come to its end"

say "${commands[1]}"
passed=
while IFS= read -r line; do
  printf '%s\n' "$line"
  case $line in
    *'✓'*fast*.test.ts*) passed=$line && break ;;
    *'❯'*.test.ts* | *FAIL*) break ;;
  esac
done < <(in_machine "cd /root/clone && ${commands[1]}" 2>&1)
[ -n "$passed" ] || fail "no fast test file has passed"
say "both commands work"
