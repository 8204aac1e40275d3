package mysql

// Schema gives the DDL. There is no auto_increment column anywhere: it would
// change what the user's LAST_INSERT_ID() says. The images are JSON on MySQL,
// which keeps the types inside JSON values, and text on MariaDB, where JSON
// would only add a check.
func (Dialect) Schema() []string {
	const (
		tail  = ` ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ROW_FORMAT=DYNAMIC`
		ascii = ` CHARACTER SET ascii COLLATE ascii_bin`
		image = ` /*!80000 JSON */ /*M!100000 LONGTEXT */`
	)
	return []string{
		`CREATE TABLE IF NOT EXISTS gtx_resource (
	one TINYINT NOT NULL,
	id VARCHAR(64)` + ascii + ` NOT NULL,
	version INT NOT NULL,
	PRIMARY KEY (one)
)` + tail,
		`CREATE TABLE IF NOT EXISTS gtx_branch (
	xid VARCHAR(64)` + ascii + ` NOT NULL,
	branch BIGINT NOT NULL,
	mode TINYINT NOT NULL,
	state TINYINT NOT NULL,
	payload LONGBLOB NULL,
	created BIGINT NOT NULL,
	PRIMARY KEY (xid, branch)
)` + tail,
		`CREATE TABLE IF NOT EXISTS gtx_undo (
	tbl VARCHAR(280) NOT NULL,
	keyh CHAR(64)` + ascii + ` NOT NULL,
	xid VARCHAR(64)` + ascii + ` NOT NULL,
	branch BIGINT NOT NULL,
	seq BIGINT NOT NULL,
	op CHAR(1)` + ascii + ` NOT NULL,
	before_img` + image + ` NOT NULL,
	after_img CHAR(64)` + ascii + ` NULL,
	schema_fp CHAR(64)` + ascii + ` NOT NULL,
	PRIMARY KEY (tbl, keyh),
	KEY gtx_undo_xid (xid, branch, seq)
)` + tail,
		`CREATE TABLE IF NOT EXISTS gtx_operator (
	at BIGINT NOT NULL,
	who VARCHAR(190) NOT NULL,
	xid VARCHAR(64)` + ascii + ` NOT NULL,
	tbl VARCHAR(280) NOT NULL,
	keyh CHAR(64)` + ascii + ` NOT NULL,
	action VARCHAR(32)` + ascii + ` NOT NULL,
	reason TEXT NOT NULL,
	PRIMARY KEY (xid, at, tbl, keyh)
)` + tail,
	}
}
