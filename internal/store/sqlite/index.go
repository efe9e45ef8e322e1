package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"

	"github.com/tollkeeper/tollkeeper/internal/usage"
)

// index is index.db, as its one writer has it. What a day's file must never
// know before it (which files there are, which records stray, where an event
// is) is announced durably before that file is changed.
type index struct {
	db       *sql.DB
	days     map[int64]bool
	strays   map[stray]bool
	policies map[string][]byte // of each origin, where it changed since it was opened
}

// stray is a file and a day, another than the file's, of records in it.
type stray struct{ day, other int64 }

// news is what a batch adds to the index before it changes a day's file.
type news struct {
	days   []int64
	strays []stray
	pins   map[usage.Hash]int64
}

func openIndex(ctx context.Context, path string) (*index, error) {
	db, err := open(ctx, path, indexSchema, true)
	if err != nil {
		return nil, err
	}
	x := &index{db: db, policies: map[string][]byte{}}
	if err := x.load(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return x, nil
}

func (x *index) load(ctx context.Context) (err error) {
	if _, err := x.db.ExecContext(ctx, "INSERT OR IGNORE INTO meta VALUES ('fold', ?)", usage.FoldVersion); err != nil {
		return err
	}
	if err := checkFold(ctx, x.db); err != nil {
		return err
	}
	if x.days, err = loadDays(ctx, x.db); err != nil {
		return err
	}
	x.strays, err = loadStrays(ctx, x.db)
	return err
}

// loadDays reads which days have a file that holds something.
func loadDays(ctx context.Context, db querier) (map[int64]bool, error) {
	out := map[int64]bool{}
	return out, each(ctx, db, "SELECT day FROM days", nil, func(scan scanFunc) error {
		var day int64
		err := scan(&day)
		out[day] = true
		return err
	})
}

func loadStrays(ctx context.Context, db querier) (map[stray]bool, error) {
	out := map[stray]bool{}
	return out, each(ctx, db, "SELECT day, other FROM strays", nil, func(scan scanFunc) error {
		var s stray
		err := scan(&s.day, &s.other)
		out[s] = true
		return err
	})
}

// restart puts the positions back to what is on the disk for certain. Where
// days' files are gone, all is read again, and makes them. (What the others have
// they skip.)
func (x *index) restart(ctx context.Context, gone []int64) error {
	return durably(ctx, x.db, func(tx *sql.Tx) error {
		var statements []string
		for _, day := range gone {
			statements = append(statements, "DELETE FROM days WHERE day = "+strconv.FormatInt(day, 10))
			delete(x.days, day)
		}
		if len(gone) > 0 {
			statements = append(statements, "DELETE FROM checkpoints")
		}
		statements = append(statements, "DELETE FROM positions", "INSERT INTO positions SELECT origin, seq FROM checkpoints")
		for _, s := range statements {
			if _, err := tx.ExecContext(ctx, s); err != nil {
				return err
			}
		}
		return nil
	})
}

// resume says from where an origin is to be read, and under which policy.
func (x *index) resume(ctx context.Context, origin string) (through uint64, policy []byte, err error) {
	err = x.db.QueryRowContext(ctx, "SELECT seq, policy FROM checkpoints WHERE origin = ?", origin).Scan(&through, &policy)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return through, policy, err
}

// pinned says in which day's file an event is.
func pinned(ctx context.Context, db *sql.DB, identity usage.Hash) (day int64, ok bool, err error) {
	err = db.QueryRowContext(ctx, "SELECT day FROM pins WHERE identity = ?", identity[:]).Scan(&day)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, false, nil
	}
	return day, err == nil, err
}

// split puts the facts into the files of their days and says what the index
// must know first.
func (x *index) split(ctx context.Context, facts []usage.Fact) (map[int64][]usage.Fact, *news, error) {
	days, n := map[int64][]usage.Fact{}, &news{pins: map[usage.Hash]int64{}}
	if len(facts) == 0 {
		return days, n, nil
	}
	run, current := 0, int64(0) // where the facts of the current day began: most batches are one run
	for i := range facts {
		day, err := x.place(ctx, &facts[i], n)
		if err != nil {
			return nil, nil, err
		}
		if i > run && day != current {
			days[current] = append(days[current], facts[run:i]...)
			run = i
		}
		current = day
	}
	if run == 0 {
		days[current] = facts
	} else {
		days[current] = append(days[current], facts[run:]...)
	}
	return days, n, nil
}

// place says in which day's file the fact is.
func (x *index) place(ctx context.Context, f *usage.Fact, n *news) (day int64, err error) {
	day, ok := f.Home()
	if !ok {
		if day, err = x.pin(ctx, f, n); err != nil {
			return 0, err
		}
	}
	if !x.days[day] && !slices.Contains(n.days, day) {
		n.days = append(n.days, day)
	}
	if s := (stray{day, usage.DayOf(f.Time)}); s.day != s.other && !x.strays[s] && !slices.Contains(n.strays, s) {
		n.strays = append(n.strays, s)
	}
	return day, nil
}

// pin finds the day of an event: that of the first one seen.
func (x *index) pin(ctx context.Context, f *usage.Fact, n *news) (int64, error) {
	if day, ok := n.pins[f.Identity]; ok {
		return day, nil
	}
	day, ok, err := pinned(ctx, x.db, f.Identity)
	if err == nil && !ok {
		day = usage.DayOf(f.Time)
		n.pins[f.Identity] = day
	}
	return day, err
}

// announce puts the news on the disk.
func (x *index) announce(ctx context.Context, n *news) error {
	if len(n.days)+len(n.strays)+len(n.pins) == 0 {
		return nil
	}
	if err := durably(ctx, x.db, func(tx *sql.Tx) error {
		for _, day := range n.days {
			if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO days VALUES (?)", day); err != nil {
				return err
			}
		}
		for _, s := range n.strays {
			if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO strays VALUES (?, ?)", s.day, s.other); err != nil {
				return err
			}
		}
		for identity, day := range n.pins {
			if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO pins VALUES (?, ?)", identity[:], day); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		return err
	}
	for _, day := range n.days {
		x.days[day] = true
	}
	for _, s := range n.strays {
		x.strays[s] = true
	}
	return nil
}

// advance moves the position and counts what the entries refused. A batch that
// is behind the position changes nothing.
func (x *index) advance(ctx context.Context, b usage.Batch) error {
	moved := false
	err := transact(ctx, x.db, func(tx *sql.Tx) error {
		positions, err := loadPositions(ctx, tx)
		if err != nil {
			return err
		}
		if moved = b.Through > positions[b.Origin]; !moved {
			return nil
		}
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO positions VALUES (?, ?)", b.Origin, b.Through); err != nil {
			return err
		}
		return count(ctx, tx, b)
	})
	if err == nil && moved && b.Policy != nil {
		x.policies[b.Origin] = b.Policy
	}
	return err
}

// count adds what the entries refused, each once: the position may go back to a
// checkpoint, the counts do not.
func count(ctx context.Context, tx *sql.Tx, b usage.Batch) error {
	counted, err := loadSeqs(ctx, tx, "SELECT origin, seq FROM counted")
	if err != nil {
		return err
	}
	for _, n := range b.Counts {
		if n.Seq <= counted[b.Origin] {
			continue
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO counts VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET amount = amount + excluded.amount`, b.Origin, n.Producer, n.Verdict, n.Reason, n.Amount); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO counted VALUES (?, ?) ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq)", b.Origin, b.Through)
	return err
}

// checkpoint makes the positions those from which the next run starts. All that
// they say is on the disk already.
func (x *index) checkpoint(ctx context.Context) error {
	return durably(ctx, x.db, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT INTO checkpoints SELECT origin, seq, NULL FROM positions WHERE true
			ON CONFLICT DO UPDATE SET seq = excluded.seq`); err != nil {
			return err
		}
		for origin, policy := range x.policies {
			if _, err := tx.ExecContext(ctx, "UPDATE checkpoints SET policy = ? WHERE origin = ?", policy, origin); err != nil {
				return err
			}
		}
		return nil
	})
}
