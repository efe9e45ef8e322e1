package sqlite_test

import (
	"testing"

	"github.com/tollkeeper/tollkeeper/internal/store/sqlite"
	"github.com/tollkeeper/tollkeeper/internal/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener {
		t.Helper()
		dir := t.TempDir()
		var last *sqlite.Store
		t.Cleanup(func() {
			if last != nil {
				if err := last.Close(); err != nil {
					t.Error(err)
				}
			}
		})
		return func(t *testing.T) storetest.Store {
			t.Helper()
			if last != nil {
				if err := last.Close(); err != nil {
					t.Fatal(err)
				}
			}
			s, err := sqlite.Open(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			last = s
			return s
		}
	})
}
