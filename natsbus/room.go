package natsbus

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// roomFor is how large all streams of an embedded server may become together: what they are, and
// three quarters of what the disk has left. By itself the server counts what is left only when
// it has accounts, so that each restart would leave less, down to a log that refuses to grow.
func roomFor(dir string) (int64, error) {
	stored, err := storedIn(dir)
	if err != nil {
		return 0, fmt.Errorf("look for room: %w", err)
	}
	free, err := diskFree(dir)
	if err != nil {
		return 0, fmt.Errorf("look for room: %w", err)
	}
	return free/4*3 + stored, nil
}

// storedIn adds up the files below dir.
func storedIn(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		sum += info.Size()
		return nil
	})
	return sum, err
}
