package tenant_test

import (
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tollkeeper/tollkeeper/internal/tenant"
)

// noon is the moment at which these tests happen.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// trace is a trace id that requests carry here.
const trace = "0af7651916cd43dd8448eb211c80319c"

// record is a gateway record's ULID.
const record = "01JDABCDEFGHJKMNPQRSTVWXYZ"

// chance is repeatable: the same seed draws the same keys and secrets.
func chance(seed byte) *rand.ChaCha8 { return rand.NewChaCha8(sha256.Sum256([]byte{seed})) }

// house is one customer with a key, and two secrets: the older retires at noon + 1h.
type house struct {
	key, operator tenant.Key
	token         string
	secret, older tenant.Secret
	customers     []tenant.Customer
}

func newHouse() house {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	var h house
	var err error
	h.key, h.token, err = tenant.NewKey(tenant.Key{Customer: "acme", Project: "chat", Role: tenant.RoleCaller}, chance(1), noon)
	must(err)
	h.operator, _, err = tenant.NewKey(tenant.Key{Role: tenant.RoleProducer}, chance(2), noon)
	must(err)
	h.older, err = tenant.NewSecret(chance(3), noon.Add(-time.Hour))
	must(err)
	h.older.Retires = noon.Add(time.Hour)
	h.secret, err = tenant.NewSecret(chance(4), noon)
	must(err)
	h.customers = []tenant.Customer{{ID: "acme", Created: noon}}
	return h
}

func (h house) directory() *tenant.Directory {
	return tenant.NewDirectory(h.customers, []tenant.Key{h.key, h.operator}, []tenant.Secret{h.older, h.secret})
}

// sign is the tracestate member that s makes for t.
func sign(s tenant.Secret, t tenant.Tag, trace string) string {
	text, err := s.Sign(t, trace)
	if err != nil {
		panic(err)
	}
	return tenant.MemberKey + "=" + text
}

var errDown = errors.New("disk is gone")
