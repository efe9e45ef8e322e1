package tenant

import "time"

// Change is one line of the audit log: who did what to what, and when. The log
// is append-only, and a line is written in the transaction of its change, so
// that neither is there without the other.
type Change struct {
	// Seq counts from 1 without a gap.
	Seq int64     `json:"seq"`
	At  time.Time `json:"at"`
	// Actor is who did it: "key:key_…" over the API, "cli:USER" at a shell,
	// "config:FILE" at start.
	Actor string `json:"actor"`
	// Action is a verb on a noun, such as "customer.add" or "key.archive".
	Action string `json:"action"`
	// Subject is what was changed, such as "customer/acme" or "key/key_…".
	Subject string `json:"subject"`
	// Detail is a JSON object with what else is worth knowing; never a secret.
	Detail string `json:"detail"`
}
