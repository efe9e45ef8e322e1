// Package tenant holds who pays and who may: customers, their projects, keys,
// the secrets that sign tags, and the log of what was changed by whom.
//
// The parts:
//
//   - [Customer], [Project], [Key], [Secret] and [Change] are plain values with
//     their rules; store/business keeps them.
//   - [Secret.Sign] makes the tag that an edge puts into tracestate;
//     [Directory.Judge] verifies it. See tag.go for the format.
//   - [Directory] is an immutable snapshot that answers without a lock; [Live]
//     keeps one fresh while other processes change the store.
//   - [Snippet] prints what nginx, Envoy or LiteLLM must set.
package tenant
