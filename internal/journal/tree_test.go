package journal

import (
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// TestTreeRoot compares it, for each size of a tree, with the library's hash over
// the hashes that proofs are made of.
func TestTreeRoot(t *testing.T) {
	t.Parallel()
	var items [][]byte
	for n := range 300 {
		stored, err := itemHashes(items)
		if err != nil {
			t.Fatal(err)
		}
		want, err := tlog.TreeHash(int64(n), stored)
		if err != nil {
			t.Fatal(err)
		}
		if got := treeRoot(items); got != want {
			t.Fatalf("%d items: %s, want %s", n, got, want)
		}
		items = append(items, fmt.Appendf(nil, "%*d", n, n)) // shorter and longer than a block
	}
}

// BenchmarkTreeRoot is what hashing 100 lines of a usual length costs.
func BenchmarkTreeRoot(b *testing.B) {
	items := make([][]byte, 100)
	for i := range items {
		items[i] = fmt.Appendf(nil, "%720d", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		treeRoot(items)
	}
}
