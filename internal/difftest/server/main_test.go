package server_test

import (
	"testing"

	"github.com/globaltx/globaltx/internal/testserver"
)

func TestMain(m *testing.M) { testserver.Main(m) }
