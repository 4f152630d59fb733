#!/usr/bin/env bash
# The two images of the compose lab without a registry: Underpass from a static binary compiled here, servers and client
# from the programs of this machine with the libraries they load. Takes the names as docker-compose.yml does.
#
# With --as-built Underpass is what `cargo build` has left in target/debug, with the libraries it loads: nothing is compiled.
set -euo pipefail
cd "$(dirname "$0")/../.."
export PATH="$PATH:/usr/sbin:/sbin"
underpass=${UNDERPASS_IMAGE:-underpass:lab}
tools=${UNDERPASS_LAB_TOOLS_IMAGE:-underpass-lab-tools:lab}
owner=65532
built=${CARGO_TARGET_DIR:-target}/debug/underpass
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# compile FILE: the static binary. Dependencies are compiled as for `cargo build`; only the last step is linked otherwise.
compile() {
  cargo rustc -q -p underpass --bin underpass -- -C target-feature=+crt-static
  strip -o "$1" "$built"
  # What lies in target/debug is what everybody expects there again; nothing is compiled for that.
  cargo build -q -p underpass
  if readelf -l "$1" | grep -q 'program interpreter'; then
    echo "the binary is not static" >&2
    return 1
  fi
}

# as_built FILE: what lies there already.
as_built() {
  [ -x "$built" ] || { echo "$built is not there: cargo build makes it" >&2; return 1; }
  strip -o "$1" "$built"
  libraries "$1" | xargs cp -L --parents -t "$work/one"
}

# libraries PROGRAM: the files that it loads.
libraries() { ldd "$1" | grep -o '/[^ ]*'; }

# copy ROOT FILE...: files with all that leads to them, what links point to instead of links.
copy() {
  local root=$1
  shift
  cp -L --parents "$@" "$root"
}

# program ROOT NAME...: programs at their places, with the libraries they load.
program() {
  local root=$1 name path
  shift
  for name in "$@"; do
    path=$(command -v "$name") || { echo "$name is not installed: ./test installs it" >&2; return 1; }
    copy "$root" "$path" $(libraries "$path")
  done
}

# image NAME ROOT "CHANGE" OWNED...: an image of a tree that belongs to root, but for the empty directories OWNED.
image() {
  local name=$1 root=$2 change=$3
  shift 3
  (
    cd "$root"
    mkdir -p "$@"
    tar --owner=0 --group=0 "${@/#/--exclude=}" -cf "$work/image.tar" ./*
    tar --owner="$owner" --group="$owner" -rf "$work/image.tar" "$@"
  )
  docker import --change "USER $owner:$owner" --change "$change" "$work/image.tar" "$name" >/dev/null
}

mkdir "$work/one" "$work/two"
case ${1-} in
'') compile "$work/one/underpass" ;;
--as-built) as_built "$work/one/underpass" ;;
*) echo "not understood: $1; right is: --as-built" >&2; exit 2 ;;
esac
image "$underpass" "$work/one" 'ENTRYPOINT ["/underpass"]' ./var/lib/underpass ./var/lib/underpass-connector ./tokens

program "$work/two" nginx redis-server redis-cli dnsmasq curl dig sh sleep timeout cp
# dnsmasq looks its user up, also where it is not root and stays who it is.
mkdir "$work/two/etc"
# Where a container starts again, a tmpfs gets the mode that the directory below has.
install -d -m 1777 "$work/two/tmp"
echo 'nobody:x:65534:65534::/:/bin/sh' >"$work/two/etc/passwd"
echo 'nogroup:x:65534:' >"$work/two/etc/group"
image "$tools" "$work/two" 'CMD ["sh"]' ./edge-2
