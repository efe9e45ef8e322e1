package sqlite

import (
	"context"
	"strings"
)

// texts numbers the texts that repeat in a day's file. Numbers given in a
// transaction that was rolled back are forgotten with the file's writer.
type texts struct {
	ids   map[string]uint64
	byID  []string // the text of number i+1
	fresh int      // how many of byID are in no file yet: the last ones
}

func newTexts() *texts { return &texts{ids: map[string]uint64{}} }

func (t *texts) id(s string) uint64 {
	id, ok := t.ids[s]
	if !ok {
		// A copy: s may be a part of a journal's line.
		s = strings.Clone(s)
		t.byID = append(t.byID, s)
		id = uint64(len(t.byID))
		t.ids[s] = id
		t.fresh++
	}
	return id
}

func (t *texts) text(id uint64) (string, bool) {
	if id == 0 || id > uint64(len(t.byID)) {
		return "", false
	}
	return t.byID[id-1], true
}

// load reads those of a file that are not known yet.
func (t *texts) load(ctx context.Context, db querier) error {
	return each(ctx, db, "SELECT id, text FROM texts WHERE id > ? ORDER BY id", []any{len(t.byID)}, func(scan scanFunc) error {
		var id int
		var text []byte
		if err := scan(&id, &text); err != nil {
			return err
		}
		if id != len(t.byID)+1 {
			return errCorrupt
		}
		t.byID = append(t.byID, string(text))
		t.ids[string(text)] = uint64(id)
		return nil
	})
}

// write puts the new ones into the file.
func (t *texts) write(insert func(id int, text []byte) error) error {
	for i := len(t.byID) - t.fresh; i < len(t.byID); i++ {
		if err := insert(i+1, []byte(t.byID[i])); err != nil {
			return err
		}
	}
	t.fresh = 0
	return nil
}
