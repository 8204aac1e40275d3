package testserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A supervisor's directory is named dirPattern and holds a lock file that is
// locked as long as the supervisor lives.
const (
	dirPattern = "gtx-servers-*"
	lockName   = "lock"
	// maxSocketDir leaves room for a socket's name: its path may have 107 bytes.
	maxSocketDir = 60
)

// makeDir makes a supervisor's directory and locks it. The lock file gets its
// name when it is locked, so that sweep never sees it unlocked before its time.
func makeDir(parent string) (dir string, unlock func(), err error) {
	if len(parent) > maxSocketDir || enterable(parent) != nil {
		parent = "/tmp"
	}
	dir, err = os.MkdirTemp(parent, dirPattern)
	if err != nil {
		return "", nil, fmt.Errorf("make the servers' directory: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { // Postgres of another user goes through it
		return "", nil, fmt.Errorf("open the servers' directory: %w", err)
	}
	f, err := os.Create(filepath.Join(dir, "lock.new"))
	if err != nil {
		return "", nil, fmt.Errorf("lock the servers' directory: %w", err)
	}
	if err := errors.Join(
		syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB),
		os.Rename(f.Name(), filepath.Join(dir, lockName)),
	); err != nil {
		return "", nil, fmt.Errorf("lock the servers' directory: %w", err)
	}
	return dir, func() { _ = f.Close() }, nil
}

// sweep removes directories of supervisors that were killed. Those of other
// users cannot be locked or removed and stay.
func sweep(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, dirPattern)) // the pattern is well formed
	for _, dir := range dirs {
		f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = removeAll(dir) // tried again by the next
		}
		_ = f.Close()
	}
}

// removeAll is os.RemoveAll, tried again where a dying server's process adds a
// file meanwhile. What Postgres keeps elsewhere goes as well.
func removeAll(dir string) (err error) {
	pidFiles, _ := filepath.Glob(filepath.Join(dir, "*/data/postmaster.pid")) // the pattern is well formed
	for _, file := range pidFiles {
		removeSegment(file)
	}
	for range 20 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
	}
	return fmt.Errorf("remove the servers' directory: %w", err)
}

// removeSegment removes the System V shared memory segment that a Postgres which
// was killed leaves behind. Line 7 of its postmaster.pid has key and id.
func removeSegment(pidFile string) {
	text, _ := os.ReadFile(pidFile) // it is gone when Postgres ended well
	lines := strings.Split(string(text), "\n")
	if len(lines) < 7 {
		return
	}
	var key uint64
	var id int
	if n, _ := fmt.Sscan(lines[6], &key, &id); n != 2 {
		return
	}
	var seg unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &seg); err == nil && seg.Perm.Key == int32(key) && seg.Nattch == 0 {
		_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) // 56 bytes stay if this does not work
	}
}
