package business

import "testing"

// Synchronous is how SQLite syncs on the store's connections.
func (s *Store) Synchronous(t *testing.T) (mode int) {
	t.Helper()
	if err := s.db.QueryRow("PRAGMA synchronous").Scan(&mode); err != nil {
		t.Fatal(err)
	}
	return mode
}

// FillDisk lets the file grow no further, which is a full disk for SQLite;
// FreeDisk takes that back.
func (s *Store) FillDisk(t *testing.T) { s.maxPages(t, "1") } // SQLite makes it what there is

// FreeDisk is FillDisk backwards.
func (s *Store) FreeDisk(t *testing.T) { s.maxPages(t, "1048576") }

func (s *Store) maxPages(t *testing.T, n string) {
	t.Helper()
	s.db.SetMaxOpenConns(1) // the pragma is its connection's
	var got int
	if err := s.db.QueryRow("PRAGMA max_page_count = " + n).Scan(&got); err != nil {
		t.Fatal(err)
	}
}

// WaitNoLock makes the store give up at once where another process writes.
func (s *Store) WaitNoLock(t *testing.T) {
	t.Helper()
	s.db.SetMaxOpenConns(1)
	if _, err := s.db.Exec("PRAGMA busy_timeout = 0"); err != nil {
		t.Fatal(err)
	}
}

// Triggers lists the names of the file's triggers.
func (s *Store) Triggers(t *testing.T) []string {
	t.Helper()
	names, err := list(t.Context(), s.db, func(r scanner) (name string, err error) { return name, r.Scan(&name) },
		"SELECT name FROM sqlite_schema WHERE type = 'trigger'")
	if err != nil {
		t.Fatal(err)
	}
	return names
}
