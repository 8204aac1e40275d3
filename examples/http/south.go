package main

import (
	"crypto/subtle"
	"database/sql"
	"fmt"
	"net/http"
	"strconv"

	"github.com/globaltx/globaltx/gtx"
	"github.com/globaltx/globaltx/gtx/gtxhttp"
)

// token stands for whatever tells your services from strangers: a client
// certificate is better.
const token = "Bearer of-our-own"

// newSouth is the service that is asked. The handler in the middle knows nothing of
// global transactions: the request's context carries one, if the caller has one.
func newSouth(c gtx.Coordinator, db *sql.DB) http.Handler {
	deposit := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		amount, err := strconv.Atoi(r.FormValue("amount"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		res, err := db.ExecContext(r.Context(), "UPDATE accounts SET balance = balance + ? WHERE id = ?", amount, r.FormValue("owner"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		if n, err := res.RowsAffected(); err != nil || n != 1 {
			http.Error(w, fmt.Sprintf("no account of that owner (%d rows, %v)", n, err), http.StatusNotFound)
		}
	})
	// Without Trust nobody may bring a transaction along: whoever joins one can also
	// cause its abort, and holds rows of this database until it ends.
	return gtxhttp.Handler(c, deposit, gtxhttp.Config{Trust: func(r *http.Request) bool {
		return subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte(token)) == 1
	}})
}
