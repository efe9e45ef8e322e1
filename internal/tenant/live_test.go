package tenant_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// shelf is a Source in memory that counts what it is asked.
type shelf struct {
	mu        sync.Mutex
	revision  int64
	directory *tenant.Directory
	err       error
	asked     int
	gate      chan struct{} // when set, Revision waits for it
}

func (s *shelf) Revision(context.Context) (int64, error) {
	s.mu.Lock()
	s.asked++
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision, s.err
}

func (s *shelf) Directory(context.Context) (*tenant.Directory, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.directory, s.err
}

// put makes the shelf hold another directory, as another process would.
func (s *shelf) put(d *tenant.Directory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision++
	s.directory = d
}

func (s *shelf) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *shelf) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func newLive(t *testing.T, s *shelf) *tenant.Live {
	t.Helper()
	l, err := tenant.NewLive(t.Context(), s, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestANewKeyIsGoodAtOnce(t *testing.T) {
	h := newHouse()
	s := &shelf{directory: tenant.NewDirectory(nil, nil, nil)}
	l := newLive(t, s)
	if _, err := l.Authenticate(t.Context(), h.token); !errors.Is(err, tenant.ErrUnauthenticated) {
		t.Fatal(err)
	}
	s.put(h.directory())
	if _, err := l.Authenticate(t.Context(), h.token); err != nil {
		t.Errorf("a key made a moment ago: %v", err)
	}
	before := s.questions()
	if _, err := l.Authenticate(t.Context(), h.token); err != nil || s.questions() != before {
		t.Errorf("a known key asks the store: %v", err)
	}
	if _, err := l.Authenticate(t.Context(), "noise"); err == nil || s.questions() != before {
		t.Errorf("noise asks the store: %v", err)
	}
}

func TestANewSecretIsGoodAtOnceAndABatchAsksOnce(t *testing.T) {
	h := newHouse()
	s := &shelf{directory: tenant.NewDirectory(h.customers, []tenant.Key{h.key}, []tenant.Secret{h.older})}
	l := newLive(t, s)
	tag := sign(h.secret, tenant.Tag{Key: h.key.ID}, "")
	s.put(h.directory())

	b, err := l.Batch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v, err := b.Judge(t.Context(), tag, trace); err != nil || v.State != tenant.TagValid {
		t.Errorf("signed by the newest secret: %+v, %v", v, err)
	}
	before := s.questions()
	for range 100 {
		if v, err := b.Judge(t.Context(), "tollkeeper=v1.-.key_x.AAAAAAAAAAAAAAAAAAAAAA", trace); err != nil || v.Reason != tenant.ReasonMac {
			t.Fatalf("forged: %+v, %v", v, err)
		}
	}
	if got := s.questions() - before; got != 0 {
		t.Errorf("a batch asked %d times after its first question", got)
	}
}

func TestStoreDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		s := &shelf{directory: h.directory()}
		l := newLive(t, s)
		s.fail(errDown)
		if _, err := l.Authenticate(t.Context(), h.token); err != nil {
			t.Errorf("a known key, a moment later: %v", err)
		}
		_, other, err := tenant.NewKey(tenant.Key{Role: tenant.RoleReader}, chance(7), noon)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Authenticate(t.Context(), other); !errors.Is(err, tenant.ErrUnavailable) || !errors.Is(err, errDown) {
			t.Errorf("an unknown key must not be called wrong while nobody can tell: %v", err)
		}
		b, err := l.Batch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Judge(t.Context(), sign(h.secret, tenant.Tag{Key: "key_new"}, ""), trace); !errors.Is(err, tenant.ErrUnavailable) {
			t.Errorf("a verdict is for ever and must wait for the store: %v", err)
		}
		time.Sleep(2 * time.Minute) //nolint:forbidigo // the bubble's clock: no time passes
		if _, err := l.Authenticate(t.Context(), h.token); !errors.Is(err, tenant.ErrUnavailable) {
			t.Errorf("a known key after two minutes without a store: %v", err)
		}
		if _, err := l.Batch(t.Context()); !errors.Is(err, tenant.ErrUnavailable) {
			t.Errorf("a batch after two minutes without a store: %v", err)
		}
		s.fail(nil)
		if _, err := l.Authenticate(t.Context(), h.token); err != nil {
			t.Errorf("the store is back: %v", err)
		}
	})
}

func TestRunLearnsOfArchivedKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		s := &shelf{directory: h.directory()}
		l := newLive(t, s)
		ctx, stop := context.WithCancel(t.Context())
		failures := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.Run(ctx, func(error) { failures++ })
		}()
		h.key.Archived = noon
		s.put(h.directory())
		time.Sleep(1500 * time.Millisecond) //nolint:forbidigo // the bubble's clock: no time passes
		if _, err := l.Authenticate(ctx, h.token); !errors.Is(err, tenant.ErrUnauthenticated) {
			t.Errorf("archived more than a second ago: %v", err)
		}
		s.fail(errDown)
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock: no time passes
		stop()
		<-done
		if failures != 1 {
			t.Errorf("%d failures told, want 1", failures)
		}
	})
}

func TestRefreshesShareOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse()
		s := &shelf{directory: h.directory()}
		l := newLive(t, s)
		s.mu.Lock()
		s.gate = make(chan struct{})
		s.mu.Unlock()
		before := s.questions()
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if err := l.Refresh(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // one asks, the others wait for it
		close(s.gate)
		wg.Wait()
		if got := s.questions() - before; got > 2 {
			t.Errorf("50 refreshes at once asked %d times, want at most 2", got)
		}
	})
}

func TestNoLiveWithoutAStore(t *testing.T) {
	if _, err := tenant.NewLive(t.Context(), &shelf{err: errDown}, time.Now); !errors.Is(err, tenant.ErrUnavailable) {
		t.Error(err)
	}
}
