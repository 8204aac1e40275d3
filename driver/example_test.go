package driver_test

import (
	"os"
	"path/filepath"
	"testing"
)

var work string

// dir is where the examples keep their databases.
func dir() string { return work }

func TestMain(m *testing.M) {
	os.Exit(func() int {
		d, err := os.MkdirTemp("", "gtx-driver")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(filepath.Clean(d))
		work = d
		return m.Run()
	}())
}
