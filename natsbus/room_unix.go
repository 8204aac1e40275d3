//go:build linux || darwin

package natsbus

import "golang.org/x/sys/unix"

// diskFree gives the bytes that the file system of dir has left for this user.
func diskFree(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // other types on other systems
}
