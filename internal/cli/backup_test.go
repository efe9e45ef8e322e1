package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// TestBackupUnderLoad backs up while clients send: what was acknowledged before
// is in the backup, and each backup is a whole one that goes on.
func TestBackupUnderLoad(t *testing.T) {
	h := newHouse(t)
	stop := h.serve()
	bodies, err := filepath.Glob(filepath.Join(recordings, "many-at-once", "otlp-*.pb"))
	if err != nil || len(bodies) == 0 {
		t.Fatal(bodies, err)
	}
	body, err := os.ReadFile(bodies[0])
	if err != nil {
		t.Fatal(err)
	}
	var acknowledged atomic.Int64
	var ended atomic.Bool
	var clients sync.WaitGroup
	for range 3 {
		clients.Go(func() {
			for !ended.Load() {
				if err := h.post(body); err != nil {
					t.Error(err)
					return
				}
				acknowledged.Add(1)
			}
		})
	}
	var taken []int64 // entries of each backup
	for n := range 3 {
		before := acknowledged.Load()
		var told struct {
			Entries int64 `json:"entries"`
		}
		h.read(&told, "backup", "--data", h.data, "--to", h.backup(n), "-o", "json")
		if taken = append(taken, told.Entries); told.Entries < before+1 { // the policy's entry, too
			t.Errorf("backup %d has %d entries, and %d were acknowledged before", n, told.Entries, before)
		}
	}
	ended.Store(true)
	clients.Wait()
	stop()
	for n, entries := range taken {
		h.data = filepath.Join(h.home, fmt.Sprint("restored", n))
		h.command("restore", h.backup(n), "--data", h.data)
		stop := h.serve()
		if err := h.post(body); err != nil {
			t.Error(err)
		}
		if err := settle(h.api); err != nil {
			t.Error(err)
		}
		stop()
		var verdict struct {
			OK      bool `json:"ok"`
			Journal struct {
				Entries int64 `json:"entries"`
			} `json:"journal"`
		}
		h.read(&verdict, "verify", "--data", h.data, "--checkpoint", filepath.Join(h.backup(n), "checkpoint.txt"), "-o", "json")
		if !verdict.OK || verdict.Journal.Entries != entries+1 {
			t.Errorf("restored %d: %+v; want one entry more than %d", n, verdict, entries)
		}
	}
}

// backup is where the test's n-th backup lies.
func (h *house) backup(n int) string { return filepath.Join(h.home, fmt.Sprint("backup", n)) }
