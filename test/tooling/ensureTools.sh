#!/bin/sh
# Sees to it that what is not in the lock file is there: `sh test/tooling/ensureTools.sh build|demo|test|ci`. As root, or
# where sudo asks for no password, it installs what is missing; else it says with which command that is done.
# Plain sh: on a bare machine even the locked Node cannot be started yet.
set -u

# Each role needs what the roles before it need, and more: role, Debian package, command or library.
needs='
build libatomic1      libatomic.so.1
demo  iproute2        ip
demo  nftables        nft
test  bind9-dnsutils  dig
test  conntrack       conntrack
test  coturn          turnserver
test  curl            curl
test  dnsmasq-base    dnsmasq
test  iperf3          iperf3
test  iputils-ping    ping
test  nsd             nsd
test  openssl         openssl
test  procps          ps
test  tcpdump         tcpdump
test  unbound         unbound
test  wireguard-go    wireguard-go
test  wireguard-tools wg
ci    debootstrap     debootstrap
ci    git             git
'

case ${1:-} in
  build) roles=' build ' ;;
  demo) roles=' build demo ' ;;
  test) roles=' build demo test ' ;;
  ci) roles=' build demo test ci ' ;;
  *)
    echo "usage: $0 build|demo|test|ci" >&2
    exit 2
    ;;
esac

# npm 9 removes this link along with the package of the same command for the other processor.
modules=${0%/*}/../../node_modules
if [ ! -e "$modules/.bin/node" ]; then
  for node in "$modules"/node-linux-*/bin/node; do
    [ ! -x "$node" ] || ln -sf "../${node#"$modules"/}" "$modules/.bin/node"
  done
fi

# A user's search path often lacks where Debian puts some of the commands.
PATH=$PATH:/usr/sbin:/sbin

is_there() {
  case $1 in
    # A system without the list of libraries is not one whose package we could name: there the loader complains.
    *.so.*) ! command -v ldconfig >/dev/null || ldconfig -p | grep -q "^[[:space:]]*$1 " ;;
    *) command -v "$1" >/dev/null ;;
  esac
}

# Sets `packages` and `names` to what is missing.
look() {
  packages='' names=''
  while read -r role package name; do
    case $roles in *" ${role:-none} "*) ;; *) continue ;; esac
    is_there "$name" || packages="$packages $package" names="$names $name"
  done <<END
$needs
END
}

fail() {
  echo "$*" >&2
  exit 1
}

look
[ -n "$names" ] || exit 0

command -v apt-get >/dev/null || fail "missing:$names — install with this system's package manager what has them"
if [ "$(id -u)" -eq 0 ]; then
  root=''
elif timeout 10 sudo -n true 2>/dev/null; then
  root='sudo -n'
else
  fail "missing:$names — sudo apt-get install --no-install-recommends$packages"
fi

# In the foreground, so that Ctrl-C reaches it.
apt() {
  timeout --foreground 600 $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 \
    -o Acquire::http::Timeout=60 -o DPkg::Lock::Timeout=120 "$@" </dev/null 2>&1
}
complaint() { printf '%s\n' "$1" | grep '^E:' | head -n 1; }

# Debian starts the servers that it installs unless this file forbids it; nothing here needs them.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '$root rm -f "$policy"' EXIT
  trap 'exit 130' HUP INT TERM
  printf '#!/bin/sh\nexit 101\n' | $root install -m 755 /dev/stdin "$policy"
fi

set -- $packages
for name in $names; do
  echo "installing $1 ($name)"
  shift
done
said=$(apt update) || echo "apt-get update failed, trying with the lists that are there: $(complaint "$said")" >&2
said=$(apt install -y --no-install-recommends $packages) ||
  fail "apt-get cannot install$packages: $(complaint "$said") — install them by hand"
wanted=$packages
look
[ -z "$names" ] || fail "missing after installing$wanted:$names — look for them in /usr/local or the search path"
