#!/usr/bin/env bash
# Makes the database servers of the tests available, without touching the host:
# a server that the machine does not have in the wanted version is unpacked from
# Debian's packages into a private directory, never installed, so no service is
# started and no root is needed.
#
#   scripts/servers.sh                   all four
#   scripts/servers.sh mysql postgres18  these
#
# A server comes from, in this order: its variable (GTX_TEST_MYSQL,
# GTX_TEST_MARIADB, GTX_TEST_POSTGRES, GTX_TEST_POSTGRES18: the DSN of one that
# runs, nothing to do), the host's own package, the cache ($GTX_TEST_CACHE,
# default .cache in the checkout), Debian's archive. Run by root in a place that
# only root can enter, it makes the default cache a link to /var/cache/globaltx:
# Postgres runs as another user. Exits 1 when one is missing,
# after saying which and what would help; the others are made available all the
# same.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${GTX_TEST_CACHE:-$root/.cache}
recipe=1 # raise when what unpack leaves behind changes: older trees are made anew
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'servers: %s\n' "$*" >&2; }

# mirror prints the address of the Debian archive that this machine's apt uses.
mirror() {
	local uri
	# shellcheck disable=SC2016 # apt expands these, not the shell
	uri=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		sed -n 's/^Debian Debian //p' | head -n 1)
	if [[ -z $uri ]]; then # no package list fetched yet: read the sources themselves
		uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources 2>/dev/null |
			grep -v '^[[:space:]]*#' | grep -oE 'https?://[^ ]+/debian/?( |$)' | head -n 1 || true)
	fi
	[[ -n $uri ]] || return 1
	printf '%s\n' "${uri%% *}"
}

# unpack NAME SUITE PACKAGE...: the packages and all they depend on, into
# $cache/servers/NAME. A private apt with an empty idea of what is installed
# resolves and downloads; dpkg-deb takes the files out of the archives.
unpack() {
	local name=$1 suite=$2 dest=$cache/servers/$1 work uri deb
	shift 2
	if [[ -e $dest/.recipe-$recipe ]]; then
		return 0
	fi
	for tool in apt-get dpkg-deb tar; do
		command -v "$tool" >/dev/null || { say "$name: needs $tool (a Debian or Ubuntu machine)"; return 1; }
	done
	[[ -r $keyring ]] || { say "$name: needs $keyring (package debian-archive-keyring)"; return 1; }
	uri=$(mirror) || { say "$name: no Debian archive among this machine's apt sources"; return 1; }
	say "$name: fetching from Debian $suite"
	mkdir -p "$cache/servers"
	work=$(mktemp -d "$cache/servers/.$name.XXXXXX")
	mkdir -p "$work"/apt/{etc/apt.conf.d,etc/preferences.d,state/lists/partial,cache/archives/partial} "$work/root"
	: >"$work/apt/status"
	printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$suite" >"$work/apt/etc/sources.list"
	local apt=(
		apt-get -qq -o Dir::Etc="$work/apt/etc" -o Dir::State="$work/apt/state" -o Dir::Cache="$work/apt/cache"
		-o Dir::State::status="$work/apt/status" -o APT::Install-Recommends=false -o APT::Sandbox::User=root
		-o Acquire::Languages=none -o Acquire::Retries=3 -o Debug::NoLocking=true
	)
	if ! { "${apt[@]}" update && "${apt[@]}" -y --download-only install "$@"; } >"$work/log" 2>&1; then
		say "$name: fetching $* from Debian $suite went wrong:"
		tail -n 5 "$work/log" >&2
		rm -rf "$work"
		return 1
	fi
	for deb in "$work"/apt/cache/archives/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner --keep-directory-symlink \
			--exclude=./usr/share/doc --exclude=./usr/share/man --exclude=./usr/share/locale --exclude=./usr/lib/locale \
			-C "$work/root" || {
			say "$name: unpacking ${deb##*/} went wrong"
			rm -rf "$work"
			return 1
		}
	done
	wrap "$work/root" "$dest" && : >"$work/root/.recipe-$recipe" && rm -rf "$dest" && mv "$work/root" "$dest" && rm -rf "$work"
}

# wrap ROOT DEST: the programs of an unpacked tree need its own libc and
# libraries. Each is renamed NAME.real, and NAME becomes a script that runs it
# through the tree's loader, under the name it had, by which it finds its files.
wrap() {
	local tree=$1 dest=$2 loader libs prog
	loader=$(cd "$tree" && find . -name 'ld-linux*.so.*' | head -n 1)
	libs=$(cd "$tree" && find . -name 'lib*.so*' -not -path '*/plugin/*' -not -path './usr/lib/postgresql/*' -printf '%h\n' |
		sort -u | sed "s|^\.|$dest|" | paste -sd:)
	for prog in "$tree"/usr/sbin/{mysqld,mariadbd} "$tree"/usr/bin/{my_print_defaults,resolveip} \
		"$tree"/usr/lib/postgresql/*/bin/{postgres,initdb}; do
		[[ -f $prog && ! -L $prog ]] || continue
		mv "$prog" "$prog.real"
		cat >"$prog" <<-WRAPPER
			#!/bin/sh
			exec '$dest/$loader' --argv0 '$dest${prog#"$tree"}' --library-path '$libs' '$dest${prog#"$tree"}.real' "\$@"
		WRAPPER
		chmod 755 "$prog"
	done
}

# enterable DIR: may every user enter it and all above it?
enterable() {
	local dir=$1
	until [[ $dir == / ]]; do
		(($(stat -c '%a' "$dir") % 2)) || return 1
		dir=$(dirname "$dir")
	done
}

# link_cache puts the default cache elsewhere if Postgres could not reach it.
link_cache() {
	if [[ $(id -u) == 0 && $cache == "$root/.cache" && ! -L $cache ]] && ! enterable "$root"; then
		mkdir -p /var/cache/globaltx
		if [[ -d $cache ]]; then # with what make built before
			cp -a "$cache/." /var/cache/globaltx/
			rm -rf "$cache"
		fi
		ln -s /var/cache/globaltx "$cache"
	fi
	cache=$(realpath -m "$cache") # what is unpacked is tied to its path
}

have_mariadb() { command -v mariadb-install-db >/dev/null && mariadbd --version 2>/dev/null | grep -q ' 10\.11\.'; }

provide() {
	case $1 in
	mysql) [[ -n ${GTX_TEST_MYSQL:-} ]] || unpack mysql sid mysql-server-core ;;
	mariadb) [[ -n ${GTX_TEST_MARIADB:-} ]] || have_mariadb || unpack mariadb bookworm mariadb-server-core mariadb-client ;;
	postgres15) [[ -n ${GTX_TEST_POSTGRES:-} || -x /usr/lib/postgresql/15/bin/initdb ]] || unpack postgres15 bookworm postgresql-15 ;;
	postgres18) [[ -n ${GTX_TEST_POSTGRES18:-} || -x /usr/lib/postgresql/18/bin/initdb ]] || unpack postgres18 sid postgresql-18 ;;
	*)
		say "unknown server $1: mysql, mariadb, postgres15, postgres18"
		return 2
		;;
	esac
}

if [[ $# == 0 ]]; then
	set -- mysql mariadb postgres15 postgres18
fi
missing=()
link_cache
mkdir -p "$cache"
exec 9>"$cache/servers.lock" # one at a time: packages tested side by side share the cache
flock 9
for name; do
	provide "$name" || missing+=("$name")
done
if ((${#missing[@]})); then
	say "missing: ${missing[*]}. Give a running one in GTX_TEST_MYSQL, GTX_TEST_MARIADB, GTX_TEST_POSTGRES or GTX_TEST_POSTGRES18" \
		"(docker compose up -d starts all four, see compose.yaml), or test without servers: make test SHORT=1"
	exit 1
fi
