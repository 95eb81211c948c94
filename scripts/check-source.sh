#!/usr/bin/env bash
# The rules of the project that no linter knows. Prints what breaks them, and fails if anything does.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

max_lines=600
broken=0

# report prints a rule and the lines on standard input that break it; nothing if there are none.
report() {
	local rule=$1 found
	found=$(cat)
	if [ -n "$found" ]; then
		printf '%s\n%s\n\n' "$rule" "$found" >&2
		broken=1
	fi
}

# find and not git, which refuses to look at a clone that belongs to another user.
mapfile -d '' -t sources < <(find . -name '*.go' -not -path './.git/*' -print0 | sort -z)
mapfile -d '' -t tests < <(find . -name '*_test.go' -not -path './.git/*' -print0 | sort -z)
mapfile -d '' -t files < <(find . -type f -not -path './.git' -not -path './.git/*' -not -path './bin/*' -not -path './out/*' -print0 | sort -z)

# matches is grep for which finding nothing is no error.
matches() { grep "$@" || test $? -eq 1; }

report "gofmt would change:" < <(gofmt -l "${sources[@]}")

report "longer than $max_lines lines, split by idea:" < <(
	for f in "${sources[@]}"; do
		if [[ $f == *.pb.go ]]; then
			continue
		fi
		n=$(wc -l <"$f")
		if [ "$n" -gt "$max_lines" ]; then
			echo "$f: $n"
		fi
	done
)

# What cannot run has to fail: a skipped test looks like a passed one.
report "tests do not skip:" < <(
	matches -nHE '\b(t|b|f|tb|tt|h)\.Skip(Now|f)?\(' "${tests[@]}"
)

# Inside a synctest bubble time is not real, and sleeping is how it passes. Between two looks of a loop that has a
# deadline a pause is right too: in the head of the for statement, or with a comment that begins "// poll".
report "tests do not sleep to be right (synctest and polling aside):" < <(
	for f in "${tests[@]}"; do
		if grep -q '"testing/synctest"' "$f"; then
			continue
		fi
		matches -nH 'time\.Sleep(' "$f" | matches -vE ':[[:space:]]*for .*time\.Sleep|// poll'
	done
)

report "paths of somebody's machine:" < <(
	matches -nHIE '(^|[^A-Za-z0-9_./-])/(root|home|Users|work)/' "${files[@]}"
)

report "decisions that docs/adr/README.md does not list:" < <(
	for f in docs/adr/[0-9]*.md; do
		if [ -e "$f" ] && ! grep -qF "(${f##*/})" docs/adr/README.md; then
			echo "$f"
		fi
	done
)

exit "$broken"
