#!/usr/bin/env bash
# Installs what the tests need and the machine lacks: redis-server, a C compiler for the race detector, Chromium to look
# at the report with, and Valkey where the distribution has it. Tests start their own servers, so no service is started
# here. Does nothing, quickly, when all is there.
set -euo pipefail

say() { printf 'install-servers: %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }

missing=()
has redis-server || missing+=(redis-server)
has gcc || has cc || has clang || missing+=(gcc libc6-dev)
has chromium || has chromium-browser || has google-chrome || missing+=(chromium fonts-dejavu-core)

if [ ${#missing[@]} -eq 0 ] && has valkey-server; then
	exit 0
fi

if ! has apt-get || [ "$(id -u)" -ne 0 ]; then
	if [ ${#missing[@]} -gt 0 ]; then
		say "missing: ${missing[*]}. Install with:" >&2
		if has apt-get; then
			say "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
		else
			say "  your package manager; redis-server 6.2 or newer, and chromium, have to be in PATH" >&2
		fi
		exit 1
	fi
	say "valkey-server is not installed: the tests against Valkey will be absent"
	exit 0
fi

export DEBIAN_FRONTEND=noninteractive
work=$(mktemp -d)
policy=/usr/sbin/policy-rc.d
guarded=no

finish() {
	if [ "$guarded" = yes ]; then
		rm -f "$policy"
		if [ -e "$policy.before-install-servers" ]; then
			mv "$policy.before-install-servers" "$policy"
		fi
	fi
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A policy of 101 keeps a package's scripts from starting its service. Whatever policy there was comes back.
guard() {
	if [ "$guarded" = yes ]; then
		return
	fi
	guarded=yes
	if [ -e "$policy" ]; then
		mv "$policy" "$policy.before-install-servers"
	fi
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 0755 "$policy"
}

# aptget works on the system's sources, or on those of use_backports once it has run.
sources=()
aptget() { apt-get -qq -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "${sources[@]}" "$@"; }

install() {
	guard
	say "installing $*"
	if ! aptget install -y --no-install-recommends "$@" >"$work/log" 2>&1; then
		cat "$work/log" >&2
		return 1
	fi
}

# candidate prints the version that would be installed, or nothing.
candidate() { apt-cache "${sources[@]}" policy "$1" | sed -n 's/^  Candidate: //p' | grep -vx '(none)'; }

# use_backports adds Debian's backports for this script alone: the system's sources and lists are only read. The
# mirror is the one in use, the keyring Debian's own.
use_backports() {
	local codename mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	codename=$(. /etc/os-release && [ "$ID" = debian ] && printf '%s' "${VERSION_CODENAME:-}") || return 1
	mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
		sed -n "s/^$codename //p" | head -n 1) || return 1
	if [ -z "$codename" ] || [ -z "$mirror" ] || [ ! -r "$keyring" ]; then
		return 1
	fi
	mkdir -p "$work/parts" "$work/lists/partial" || return 1
	if [ -d /etc/apt/sources.list.d ]; then
		cp -R /etc/apt/sources.list.d/. "$work/parts/" || return 1
	fi
	printf 'deb [signed-by=%s] %s %s-backports main\n' "$keyring" "$mirror" "$codename" \
		>"$work/parts/backports.list" || return 1
	chmod -R a+rX "$work" || return 1 # apt reads and downloads as a user of its own
	sources=(-o "Dir::Etc::SourceParts=$work/parts" -o "Dir::State::Lists=$work/lists")
	aptget update
}

say "updating the package lists"
aptget update

if [ ${#missing[@]} -gt 0 ]; then
	install "${missing[@]}"
fi

# Valkey is worth a try, not worth a failure: whatever goes wrong below, the Redis tests can run.
valkey() {
	if has valkey-server; then
		return
	fi
	if [ -z "$(candidate valkey-server)" ]; then
		use_backports || return 1
		[ -n "$(candidate valkey-server)" ] || return 1
		install -t "$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")-backports" valkey-server
		return
	fi
	install valkey-server
}
if valkey; then
	say "$(redis-server --version | cut -d' ' -f1-3), $(valkey-server --version | cut -d' ' -f1-3)"
else
	say "valkey-server cannot be had from this distribution: the tests against Valkey will be absent"
fi
