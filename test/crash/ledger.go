package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
)

// ledger is what one client knows: a file with a line for each export before it
// is sent and for each acknowledgement. An acknowledgement is on disk before the
// client goes on.
type ledger struct{ file *os.File }

const (
	wordSent  = "sent"
	wordAcked = "acked"
)

func openLedger(path string) (*ledger, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &ledger{f}, err
}

func (l *ledger) sent(n int) error {
	_, err := fmt.Fprintln(l.file, wordSent, n)
	return err
}

func (l *ledger) acked(n int) error {
	if _, err := fmt.Fprintln(l.file, wordAcked, n); err != nil {
		return err
	}
	return l.file.Sync()
}

func (l *ledger) close() error { return l.file.Close() }

// readLedger returns the exports that were sent, and whether one was
// acknowledged.
func readLedger(path string) (_ map[int]bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	exports := map[int]bool{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var word string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &word, &n); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", path, lines.Text(), err)
		}
		exports[n] = exports[n] || word == wordAcked
	}
	return exports, lines.Err()
}
