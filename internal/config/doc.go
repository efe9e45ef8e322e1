// Package config reads what an operator writes: tollkeeper.yaml, with the
// environment over it, and the file of prices.
//
// One table, schema.go, says which keys there are, what they default to and what
// they may hold; checks, defaults, environment variables, provenance and the
// test of docs/ops/configuration.md all come from it. A file is checked as a
// tree of YAML nodes, which know their lines, before koanf merges it with
// defaults and environment; what is wrong is reported all at once.
package config
