#!/usr/bin/env bash
# Compares the benchmarks of this tree, uncommitted changes included, with those of another revision, by benchstat.
#
#	scripts/bench-compare.sh PACKAGES BENCHMARKS COUNT BENCHTIME [BASE]
#
# Both sides run in turn, COUNT times each, so that what else the machine does meets both alike. BASE defaults to the
# merge base with the main branch, or to the parent of HEAD where that is HEAD itself and nothing is uncommitted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

read -ra packages <<<"$1"
pattern=$2 count=$3 benchtime=$4 base=${5:-}
go=${GO:-go}

if [ -z "$base" ]; then
	for main in origin/main main origin/HEAD; do
		if base=$(git merge-base HEAD "$main" 2>/dev/null); then
			break
		fi
	done
	if [ "$base" = "$(git rev-parse HEAD)" ] && git diff --quiet HEAD; then
		base=$(git rev-parse HEAD~1)
	fi
fi
base=$(git rev-parse --verify --quiet "$base^{commit}") || {
	echo "bench-compare: there is no revision to compare with; name one: make bench/compare BASE=revision" >&2
	exit 2
}

out=$PWD/out/bench-compare
mkdir -p "$out"
work=$(mktemp -d)
trap 'git worktree remove --force "$work/base" 2>/dev/null || true; rm -rf "$work"' EXIT
trap 'exit 130' INT
git worktree add --quiet --detach "$work/base" "$base"
echo "comparing with $(git log -1 --format='%h %s' "$base")"

# build makes the test binary of each package of one side. A package that the base has not is left out.
build() {
	local side=$1 root=$2 p
	for p in "${packages[@]}"; do
		if [ -d "$root/$p" ]; then
			"$go" -C "$root" test -c -o "$work/$side-${p//[.\/]/_}.test" "$p"
		fi
	done
}
build old "$work/base"
build new "$PWD"

# run adds one round of one side's benchmarks to its file.
run() {
	local side=$1 root=$2 p binary
	for p in "${packages[@]}"; do
		binary=$work/$side-${p//[.\/]/_}.test
		if [ -x "$binary" ]; then
			(cd "$root/$p" && "$binary" -test.run '^$' -test.bench "$pattern" -test.benchmem -test.benchtime "$benchtime") >>"$out/$side.txt"
		fi
	done
}
: >"$out/old.txt"
: >"$out/new.txt"
for ((round = 1; round <= count; round++)); do
	echo "round $round of $count"
	if ((round % 2)); then
		run old "$work/base"
		run new "$PWD"
	else
		run new "$PWD"
		run old "$work/base"
	fi
done
"$go" -C tools tool benchstat "old=$out/old.txt" "new=$out/new.txt"
