// Command testservers runs a command with a private MySQL, MariaDB, Postgres 15
// and Postgres 18 beside it, named in GTX_TEST_MYSQL, GTX_TEST_MARIADB,
// GTX_TEST_POSTGRES and GTX_TEST_POSTGRES18, and passes its exit code on. A server
// whose variable is set already is used as it is.
//
//	testservers go test ./... -race
package main

import (
	"fmt"
	"os"

	"github.com/globaltx/globaltx/internal/testserver"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: testservers command [argument ...]")
		os.Exit(2)
	}
	os.Exit(testserver.Run(os.Stderr, os.Args[1], os.Args[2:]...))
}
