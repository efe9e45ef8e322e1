package oteltraces

import (
	"context"
	"fmt"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Options are the settings of Init.
type Options struct {
	Address
	TTL TTL
	// Timeout bounds how long ClickHouse is waited for; 0 is for ever.
	Timeout time.Duration
	// Waiting is told why ClickHouse is still waited for: when the reason
	// changes, and now and then.
	Waiting func(server, why string, waited time.Duration)
}

// Result is what Init found and did.
type Result struct {
	Server   string `json:"server"`
	Database string `json:"database"`
	// Changes are empty when all was there as it should be.
	Changes []string `json:"changes"`
	// Notes are differences that do no harm, and were left.
	Notes []string `json:"notes"`
}

// AddressError says that an address is none: the caller's mistake.
type AddressError struct{ error }

// Unwrap returns the cause.
func (e *AddressError) Unwrap() error { return e.error }

const (
	attemptTime = 30 * time.Second
	firstPause  = 250 * time.Millisecond
	longPause   = 5 * time.Second
	// tellEvery is how often the same reason is told again.
	tellEvery = 15 * time.Second
)

// Init makes what is missing of otel_traces. It waits for a server that is not
// there or not ready; what waiting cannot mend it says at once.
func Init(ctx context.Context, o Options) (*Result, error) {
	s, err := o.server()
	if err != nil {
		return nil, &AddressError{err}
	}
	w := &waiting{Options: o, server: s.name, began: time.Now(), pause: firstPause}
	for {
		r, err := s.attempt(ctx, o.TTL)
		if err == nil {
			return r, nil
		}
		failure := explain(err, s)
		if !failure.passes {
			return nil, failure
		}
		if err := w.wait(ctx, failure); err != nil {
			return nil, err
		}
	}
}

// waiting is how long Init has waited, and what it told.
type waiting struct {
	Options
	server      string
	began, told time.Time
	why         string
	pause       time.Duration
}

// wait pauses before the next attempt, or says that there is none.
func (w *waiting) wait(ctx context.Context, f *failure) error {
	waited := time.Since(w.began)
	if w.Waiting != nil && (f.why != w.why || time.Since(w.told) >= tellEvery) {
		w.Waiting(w.server, f.why, waited)
		w.why, w.told = f.why, time.Now()
	}
	if w.Timeout > 0 && waited+w.pause > w.Timeout {
		return fmt.Errorf("ClickHouse at %s was not there within %s: %w\nIs it running, and is that its address? --timeout waits longer", w.server, w.Timeout, f)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("ended while waiting for ClickHouse at %s: %w", w.server, f)
	case <-time.After(w.pause):
	}
	w.pause = min(2*w.pause, longPause)
	return nil
}

// attempt does all of it once.
func (s *server) attempt(ctx context.Context, ttl TTL) (_ *Result, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	conn, err := clickhouse.Open(s.options)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if err := conn.Ping(ctx); err != nil {
		return nil, err
	}
	m := &maker{conn: conn, database: s.database, result: &Result{Server: s.name, Database: s.database, Changes: []string{}, Notes: []string{}}}
	if err := m.make(ctx, ttl); err != nil {
		return nil, err
	}
	return m.result, nil
}

// maker compares and makes.
type maker struct {
	conn     driver.Conn
	database string
	result   *Result
}

func (m *maker) changed(format string, args ...any) {
	m.result.Changes = append(m.result.Changes, fmt.Sprintf(format, args...))
}

func (m *maker) note(format string, args ...any) {
	m.result.Notes = append(m.result.Notes, fmt.Sprintf(format, args...))
}

func (m *maker) make(ctx context.Context, ttl TTL) error {
	if err := m.makeDatabase(ctx); err != nil {
		return err
	}
	have, err := m.existing(ctx)
	if err != nil {
		return err
	}
	// Both are looked at before either is made: a conflict leaves nothing half done.
	for i := range tables {
		if err := tables[i].conflict(m.database, have[tables[i].name]); err != nil {
			return err
		}
	}
	for i := range tables {
		if err := m.makeTable(ctx, &tables[i], have[tables[i].name], ttl); err != nil {
			return err
		}
	}
	return m.makeView(ctx, have[viewName])
}

// makeDatabase asks before it makes one, because a user may be allowed less.
func (m *maker) makeDatabase(ctx context.Context) error {
	var n uint64
	if err := m.conn.QueryRow(ctx, "SELECT count() FROM system.databases WHERE name = ?", m.database).Scan(&n); err != nil || n > 0 {
		return err
	}
	if err := m.conn.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+quote(m.database)); err != nil {
		return err
	}
	m.changed("made the database %s", m.database)
	return nil
}

func (m *maker) makeTable(ctx context.Context, t *table, have *found, ttl TTL) error {
	name := m.database + "." + t.name
	if have == nil {
		if err := m.conn.Exec(ctx, t.create(m.database, ttl.expression(t.at))); err != nil {
			return err
		}
		m.changed("made the table %s", name)
		return nil
	}
	for _, n := range t.differences(have) {
		m.note("%s %s", name, n)
	}
	if !have.mergeTree() {
		m.note("%s has the engine %s: whether an insert that it acknowledges is on disk is up to the tables behind it", name, have.engine)
		return nil
	}
	if missing := have.lacks(durable); len(missing) > 0 {
		if err := m.conn.Exec(ctx, "ALTER TABLE "+full(m.database, t.name)+" MODIFY SETTING "+assignments(missing)); err != nil {
			return err
		}
		m.changed("set on the table %s, so that an insert that it acknowledges is on disk: %s", name, assignments(missing))
	}
	if want := ttl.expression(t.at); want != "" && want != have.ttl() {
		if err := m.conn.Exec(ctx, "ALTER TABLE "+full(m.database, t.name)+" MODIFY TTL "+want); err != nil {
			return err
		}
		m.changed("set the TTL of the table %s to %s", name, ttl)
	} else if want == "" && have.ttl() != "" {
		m.note("%s has a TTL, %s, which stays: `ALTER TABLE %s REMOVE TTL` takes it away", name, have.ttl(), full(m.database, t.name))
	}
	return nil
}

func (m *maker) makeView(ctx context.Context, have *found) error {
	name := m.database + "." + viewName
	switch {
	case have == nil:
		if err := m.conn.Exec(ctx, createView(m.database)); err != nil {
			return err
		}
		m.changed("made the view %s", name)
	case have.engine != "MaterializedView":
		m.note("%s is a %s, no materialized view, and was left", name, have.engine)
	}
	return nil
}
