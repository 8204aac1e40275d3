package natsbus

import (
	"os"
	"path/filepath"
	"testing"
)

// TestRoomCountsWhatIsStored: what the streams hold is room that they have, so that a restart
// leaves an embedded server as much as it had.
func TestRoomCountsWhatIsStored(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"x": 1000, "a/y": 0, "a/b/z": 123_456} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := storedIn(dir); err != nil || n != 124_456 {
		t.Errorf("got %d, %v", n, err)
	}
	if n, err := diskFree(dir); err != nil || n <= 0 {
		t.Errorf("got %d, %v", n, err)
	}

	// The server is told: its own count leaves out what its accounts hold.
	bus, err := Embedded(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	if got, told := bus.host.srv.JetStreamConfig().MaxStore, bus.host.room; got != told || told <= 0 {
		t.Errorf("the server has room for %d, want %d", got, told)
	}
}
