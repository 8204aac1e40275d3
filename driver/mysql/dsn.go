package mysql

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// prefix of the DSN parameters that belong to this module.
const prefix = "gtx_"

// SplitDSN reads a DSN of go-sql-driver/mysql. The parameters that begin with
// gtx_ are taken out of cfg and returned, so that they never reach the server.
// Errors hold no part of the DSN.
func SplitDSN(dsn string) (cfg *mysql.Config, params map[string]string, err error) {
	cfg, err = mysql.ParseDSN(dsn)
	if err != nil {
		return nil, nil, fmt.Errorf("read mysql dsn %s: %w", Redact(dsn), hideDSN(err, dsn))
	}
	params = map[string]string{}
	for k, v := range cfg.Params {
		if strings.HasPrefix(k, prefix) {
			params[k] = v
			delete(cfg.Params, k)
		}
	}
	return cfg, params, nil
}

// hideDSN keeps err unless its text repeats the DSN, or a part of it that may
// be the password.
func hideDSN(err error, dsn string) error {
	text := err.Error()
	if secret := password(dsn); secret != "" && strings.Contains(text, secret) {
		return errors.New("the DSN is not understood")
	}
	return err
}

// Redact gives dsn with its password replaced, fit for logs and errors. It also
// works on texts that are no valid DSN: what could be a password is replaced.
func Redact(dsn string) string {
	if secret := password(dsn); secret != "" {
		from := strings.IndexByte(dsn, ':') + 1
		return dsn[:from] + "***" + dsn[from+len(secret):]
	}
	return dsn
}

// password is what stands between the first colon and the last @ in front of
// the last slash, as go-sql-driver reads it, or between it and the end when no
// such place is found but an @ is.
func password(dsn string) string {
	head := dsn
	if i := strings.LastIndexByte(dsn, '/'); i >= 0 {
		head = dsn[:i]
	}
	at := strings.LastIndexByte(head, '@')
	if at < 0 {
		at = strings.LastIndexByte(dsn, '@')
	}
	if at < 0 {
		return ""
	}
	colon := strings.IndexByte(dsn[:at], ':')
	if colon < 0 {
		return ""
	}
	return dsn[colon+1 : at]
}
