package testserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// adminUser may do everything on a private server; its password is random.
const adminUser = "gtx"

func durable() bool { return os.Getenv(DurableEnv) != "" }

// mysqlServer is MySQL 9 or MariaDB 10.11.
type mysqlServer struct{ maria bool }

func (e mysqlServer) setUp(s *server) error {
	// Run at each start, before the server answers.
	init := fmt.Sprintf("CREATE USER IF NOT EXISTS '%[1]s'@'%%' IDENTIFIED BY '%[2]s';\n"+
		"CREATE USER IF NOT EXISTS '%[1]s'@'localhost' IDENTIFIED BY '%[2]s';\n"+
		"GRANT ALL ON *.* TO '%[1]s'@'%%' WITH GRANT OPTION;\n"+
		"GRANT ALL ON *.* TO '%[1]s'@'localhost' WITH GRANT OPTION;\n"+
		"ALTER USER 'root'@'localhost' IDENTIFIED BY '%[2]s';\n", adminUser, s.password)
	if err := os.WriteFile(filepath.Join(s.dir, "init.sql"), []byte(init), 0o600); err != nil {
		return fmt.Errorf("write init file: %w", err)
	}
	usr := filepath.Join(s.root, "usr")
	if e.maria {
		args := []string{
			"--no-defaults", "--basedir=" + usr, "--datadir=" + s.data(),
			"--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve",
		}
		if os.Geteuid() == 0 {
			args = append(args, "--user=root")
		}
		err := run(s.onMain, s.logFile(), nil, filepath.Join(usr, "bin/mariadb-install-db"), args...)
		if err == nil {
			return nil
		}
		// Seen on a machine with far too much to do, and never twice.
		if cerr := errors.Join(os.RemoveAll(s.data()), os.MkdirAll(s.data(), 0o700)); cerr != nil {
			return errors.Join(err, cerr)
		}
		return run(s.onMain, s.logFile(), nil, filepath.Join(usr, "bin/mariadb-install-db"), args...)
	}
	name, args := e.program(s)
	return run(s.onMain, s.logFile(), nil, name, append(args, "--initialize-insecure")...)
}

// program gives what setting up and running share.
func (e mysqlServer) program(s *server) (string, []string) {
	args := []string{"--no-defaults", "--basedir=" + filepath.Join(s.root, "usr"), "--datadir=" + s.data()}
	if os.Geteuid() == 0 {
		args = append(args, "--user=root")
	}
	if !durable() {
		args = append(args, "--innodb-flush-method=nosync")
	}
	if e.maria {
		return filepath.Join(s.root, "usr/sbin/mariadbd"), args
	}
	return filepath.Join(s.root, "usr/sbin/mysqld"), append(args, "--mysqlx=OFF", "--secure-file-priv=NULL")
}

// command: the binary log is on and ROW, as in production.
func (e mysqlServer) command(s *server) (string, []string) {
	name, args := e.program(s)
	args = append(args,
		"--socket="+filepath.Join(s.dir, "sock"),
		"--tmpdir="+s.dir, // servers that share one delete each other's files at start
		"--pid-file="+filepath.Join(s.dir, "pid"),
		"--init-file="+filepath.Join(s.dir, "init.sql"),
		"--port="+strconv.Itoa(s.port),
		"--bind-address=127.0.0.1",
		"--skip-name-resolve",
		"--character-set-server=utf8mb4",
		"--max-connections=300",
		"--server-id=1",
		"--log-bin="+filepath.Join(s.data(), "binlog"),
		"--innodb-buffer-pool-size=64M",
	)
	if e.maria {
		args = append(args, "--binlog-format=ROW") // MySQL 9 has no other
	}
	if durable() {
		return name, append(args, "--innodb-flush-log-at-trx-commit=1", "--sync-binlog=1")
	}
	// 2: the log reaches the kernel at each commit, so a killed process loses nothing.
	return name, append(args, "--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0")
}

func (mysqlServer) local(s *server) string {
	return adminUser + ":" + s.password + "@unix(" + filepath.Join(s.dir, "sock") + ")/"
}

func (mysqlServer) dsn(s *server) string {
	return adminUser + ":" + s.password + "@tcp(127.0.0.1:" + strconv.Itoa(s.port) + ")/"
}

func (mysqlServer) stopSignal() syscall.Signal { return syscall.SIGTERM }

// postgresServer is any Postgres. It refuses to run as root.
type postgresServer struct{}

func (postgresServer) bin(s *server, name string) string {
	return filepath.Join(s.root, filepath.Dir(s.kind.program), name)
}

func (e postgresServer) setUp(s *server) (err error) {
	if s.cred, err = owner(); err != nil {
		return err
	}
	if s.cred != nil {
		if err := enterable(s.root); err != nil {
			return fmt.Errorf("only root reaches %s, and Postgres does not run as root: %w; set %s to a directory elsewhere",
				s.root, err, CacheEnv)
		}
	}
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(s.password+"\n"), 0o600); err != nil {
		return fmt.Errorf("write password file: %w", err)
	}
	if s.cred != nil {
		uid, gid := int(s.cred.Uid), int(s.cred.Gid)
		if err := errors.Join(os.Chown(s.dir, uid, gid), os.Chown(secret, uid, gid)); err != nil {
			return fmt.Errorf("give the directory to Postgres: %w", err)
		}
	}
	// MD5 costs a new connection less than SCRAM, and tests make many.
	return errors.Join(
		run(s.onMain, s.logFile(), s.cred, e.bin(s, "initdb"),
			"--pgdata="+s.data(), "--username="+adminUser, "--auth=md5", "--pwfile="+secret,
			"--no-sync", "--no-locale", "--encoding=UTF8"),
		os.Remove(secret),
		configure(filepath.Join(s.data(), "postgresql.conf")),
	)
}

// configure adds what a test may change with ALTER SYSTEM and a restart: a setting of
// the command line could not be.
func configure(file string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("open configuration of Postgres: %w", err)
	}
	_, err = f.WriteString("max_prepared_transactions = 256\n")
	return errors.Join(err, f.Close())
}

func (e postgresServer) command(s *server) (string, []string) {
	settings := []string{
		"listen_addresses=127.0.0.1",
		"port=" + strconv.Itoa(s.port),
		"unix_socket_directories=" + s.dir,
		"max_connections=300",
		"shared_buffers=64MB",
		"dynamic_shared_memory_type=mmap", // inside the data directory, so removed with it
		"jit=off",
		"timezone=GMT", // known without the host's time zone files
		"log_timezone=GMT",
	}
	if !durable() {
		settings = append(settings, "fsync=off", "full_page_writes=off")
	}
	args := []string{"-D", s.data()}
	for _, set := range settings {
		args = append(args, "-c", set)
	}
	return e.bin(s, "postgres"), args
}

func (postgresServer) local(s *server) string {
	return fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=postgres sslmode=disable", s.dir, s.port, adminUser, s.password)
}

func (postgresServer) dsn(s *server) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/postgres?sslmode=disable", adminUser, s.password, s.port)
}

// stopSignal asks for the fast shutdown, which does not wait for clients.
func (postgresServer) stopSignal() syscall.Signal { return syscall.SIGINT }
