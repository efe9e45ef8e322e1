package vllmsim

import "hash/maphash"

// cacheBlocks is how many blocks the prefix cache keeps, as recorded.
const cacheBlocks = 8192

// prefixCache remembers which prompt prefixes were computed, in whole blocks.
// Only the engine's goroutine uses it.
type prefixCache struct {
	block int
	seed  maphash.Seed
	known map[uint64]bool
	order []uint64 // oldest first, to forget
}

func newPrefixCache(block int) *prefixCache {
	return &prefixCache{block: block, seed: maphash.MakeSeed(), known: map[uint64]bool{}}
}

// lookup counts the leading tokens that are cached. The last token is always
// computed: without it there would be nothing to predict from.
func (c *prefixCache) lookup(tokens []string) int {
	hit := 0
	for i, h := range c.hashes(tokens) {
		end := (i + 1) * c.block
		if !c.known[h] || end >= len(tokens) {
			break
		}
		hit = end
	}
	return hit
}

// store remembers the whole blocks of tokens.
func (c *prefixCache) store(tokens []string) {
	for _, h := range c.hashes(tokens) {
		if c.known[h] {
			continue
		}
		c.known[h] = true
		c.order = append(c.order, h)
		if len(c.order) > cacheBlocks {
			delete(c.known, c.order[0])
			c.order = c.order[1:]
		}
	}
}

// hashes has one value a whole block, each over everything up to its end.
func (c *prefixCache) hashes(tokens []string) []uint64 {
	if len(tokens) < c.block {
		return nil
	}
	var h maphash.Hash
	h.SetSeed(c.seed)
	var out []uint64
	for i, t := range tokens {
		h.WriteString(t)
		h.WriteByte(0xff) // 0xff is in no UTF-8 text
		if (i+1)%c.block == 0 {
			out = append(out, h.Sum64())
		}
	}
	return out
}
