#!/usr/bin/env bash
# Fuzzes every fuzz target of the given packages for the given time, one after another, in both modules.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

time=${1:-30s}
packages=${2:-./...}
ran=0

for module in . bench; do
	if [ "$module" = bench ] && [ "$packages" != ./... ]; then
		continue # the pattern names packages of the root module
	fi
	list=$(go -C "$module" list "$packages")
	for package in $list; do
		targets=$(go -C "$module" test -list '^Fuzz' "$package")
		for target in $(grep '^Fuzz' <<<"$targets" || test $? -eq 1); do
			echo "== $package $target"
			go -C "$module" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$package"
			ran=$((ran + 1))
		done
	done
done
echo "fuzzed $ran targets for $time each"
