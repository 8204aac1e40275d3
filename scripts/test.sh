#!/usr/bin/env bash
# Runs the tests on the servers that the environment names: `make test` calls it
# through testservers.
#
#   scripts/test.sh ./...                       all, the module of difftest too
#   scripts/test.sh ./driver/mysql -run Types   these
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

pkg=$1
shift
# -p 2: more packages side by side only make the servers wait.
tests=(go test -race -shuffle=on -p 2 -timeout 30m "$@")
rc=0
"${tests[@]}" "$pkg" || rc=$?
# The reference parsers have a module of their own, which must not reach a
# user's go.sum. A failure in one module does not keep the other from running.
if [[ $pkg == ./... ]]; then
	(cd internal/difftest && "${tests[@]}" ./...) || rc=$?
fi
exit "$rc"
