#!/usr/bin/env bash
# Runs the tests on the servers that the environment names: `make test` calls it
# through testservers.
#
#   scripts/test.sh ./...                       all, the other modules too
#   scripts/test.sh ./driver/mysql -run Types   these
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pkg=$1
shift
# -p 2: more packages side by side only make the servers wait.
tests=(go test -race -shuffle=on -p 2 -timeout 30m "$@")
# The reference parsers, the public suites and the mappers have modules of their
# own, which must not reach a user's go.sum. The Makefile reads this line, too.
modules="internal/difftest internal/compare internal/conformance internal/conformance/programs examples/orm"
rc=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
"${tests[@]}" "$pkg" |& tee "$log" || rc=$?
# A failure in one module does not keep the others from running.
if [[ $pkg == ./... ]]; then
	for module in $modules; do
		(cd "$module" && "${tests[@]}" ./...) |& tee -a "$log" || rc=$?
	done
fi
# A stack of thousands of lines may stand behind the name of a test that hangs.
if ((rc)); then
	echo "test.sh: what failed, once more:"
	grep -E '^ *--- FAIL|^panic: |^\s+running tests:|^\s+(Test|Fuzz|Example)\w+.* \([0-9hms.]+\)$|^FAIL|DATA RACE' "$log"
fi
exit "$rc"
