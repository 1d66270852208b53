#!/usr/bin/env bash
# Prints where this machine gets Debian's packages; fails where apt knows no such place.
set -euo pipefail
mirror_of() { apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Component: main" "$@" | sed 1q; }
mirror=$(mirror_of "Origin: Debian" "Label: Debian")
if [ -z "$mirror" ]; then
  timeout 300 apt-get -qq update >&2
  mirror=$(mirror_of "Origin: Debian" "Label: Debian")
fi
[ -n "$mirror" ] && echo "$mirror"
