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
test  bind9-utils     dnssec-signzone
test  chromium        chromium
test  conntrack       conntrack
test  coturn          turnserver
test  curl            curl
test  dnsmasq-base    dnsmasq
test  hey             hey
test  iperf3          iperf3
test  iputils-ping    ping
test  keepalived      keepalived
test  mandoc          mandoc
test  musl-tools      musl-gcc
test  nsd             nsd
test  openssl         openssl
test  postgresql      postgres
test  procps          ps
test  tcpdump         tcpdump
test  unbound         unbound
test  wireguard-go    wireguard-go
test  wireguard-tools wg
ci    debootstrap     debootstrap
ci    git             git
'

# Only unpacked, into node_modules: where it is installed it takes the machine's /etc/resolv.conf over.
resolved='systemd-resolved libsystemd-shared'

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
  for directory in /usr/lib/postgresql/*/bin; do PATH=$PATH:$directory; done
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

# In the foreground, so that Ctrl-C reaches it.
apt() {
  timeout --foreground 600 $root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 \
    -o Acquire::http::Timeout=60 -o DPkg::Lock::Timeout=120 "$@" </dev/null 2>&1
}
complaint() { printf '%s\n' "$1" | grep '^E:' | head -n 1; }

# The last thing that happens.
finish() {
  unpacked=$modules/.cache/debian
  case $roles in *' test '*) ;; *) exit 0 ;; esac
  [ ! -x "$unpacked/lib/systemd/systemd-resolved" ] || exit 0
  echo "unpacking $resolved"
  install -d "$unpacked" && cd "$unpacked" || exit 1
  said=$(apt download $resolved) || fail "apt-get cannot download $resolved: $(complaint "$said") — sudo apt-get update"
  for file in *.deb; do
    dpkg-deb -x "$file" . && rm -f "$file" || fail "cannot unpack $unpacked/$file"
  done
  exit 0
}

root=''
look
[ -n "$names" ] || finish

command -v apt-get >/dev/null || fail "missing:$names — install with this system's package manager what has them"
if [ "$(id -u)" -ne 0 ]; then
  root='sudo -n'
  timeout 10 sudo -n true 2>/dev/null ||
    fail "missing:$names — sudo apt-get install --no-install-recommends$packages"
fi

# What forbids things to Debian while this installs; the owner's own rules stay.
rules=''
trap '[ -z "$rules" ] || $root rm -f $rules' EXIT
trap 'exit 130' HUP INT TERM
forbid() {
  [ ! -e "$1" ] || return 0
  rules="$rules $1"
  printf "$2" | $root install -D -m "$3" /dev/stdin "$1"
}
# It starts the servers that it installs; nothing here needs them.
forbid /usr/sbin/policy-rc.d '#!/bin/sh\nexit 101\n' 755
# It makes a database that is served from the next boot on.
case " $packages " in
  *' postgresql '*) forbid /etc/postgresql-common/createcluster.d/sallyport.conf 'create_main_cluster = false\n' 644 ;;
esac

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
finish
