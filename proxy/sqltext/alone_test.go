package sqltext

import "testing"

func TestAlone(t *testing.T) {
	for _, c := range []struct {
		text string
		d    Dialect
		want bool
	}{
		{"DO $$ BEGIN UPDATE t SET n = 1; COMMIT; END $$", Postgres, true},
		{"DO $$ BEGIN NULL; END $$;", Postgres, true},
		{"DO $$ BEGIN NULL; END $$; COMMIT", Postgres, false},
		{"DO 'x'; -- nothing\n COMMIT", Postgres, false},
		{"DO 'x'; -- COMMIT", Postgres, true},
		{"CALL p('a;b')", MySQL, true},
		{"CALL p(1);; COMMIT", MySQL, false},
		{"CALL p('a\\'; COMMIT; -- ')", MySQL, true},
		{"CALL p('a", MySQL, false},
	} {
		if got := Alone(c.text, c.d, Mode{}); got != c.want {
			t.Errorf("%s: got %t", c.text, got)
		}
	}
}
