package ingest

import (
	"crypto/sha256"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// limiter bounds the requests a second of each producer.
type limiter struct {
	perSecond float64
	mu        sync.Mutex
	buckets   map[string]*rate.Limiter // one a credential, so as many as there are keys
}

func newLimiter(perSecond float64) *limiter {
	return &limiter{perSecond: perSecond, buckets: map[string]*rate.Limiter{}}
}

func (l *limiter) allow(producer string, now time.Time) bool {
	if l.perSecond <= 0 {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.buckets[producer]
	if b == nil {
		b = rate.NewLimiter(rate.Limit(l.perSecond), max(1, int(l.perSecond)))
		l.buckets[producer] = b
	}
	return b.AllowN(now, 1)
}

const (
	// maxPanics is how often one body may panic the decoder before it is refused
	// for ever.
	maxPanics = 3
	// rememberedPanics bounds the bodies remembered.
	rememberedPanics = 1024
)

// panics remembers the bodies that panicked the decoder.
type panics struct {
	mu    sync.Mutex
	count map[[sha256.Size]byte]int
}

// again counts a panic, and reports whether it was one too many.
func (p *panics) again(body []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.count == nil || len(p.count) >= rememberedPanics {
		p.count = map[[sha256.Size]byte]int{}
	}
	h := sha256.Sum256(body)
	p.count[h]++
	return p.count[h] >= maxPanics
}
