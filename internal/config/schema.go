package config

import (
	"slices"
	"strings"
)

// schema is tollkeeper.yaml: each key with what it may hold, its default and its
// meaning. Whatever else knows keys takes them from here.
var schema = &group{fields: []field{
	{name: "data", shape: text{}, path: true, meaning: "the data directory"},
	{name: "listen", shape: &group{fields: []field{
		{name: "otlp_grpc", shape: text{check: CheckAddress, literal: true}, def: "127.0.0.1:4317", meaning: "where OTLP/gRPC is taken"},
		{name: "otlp_http", shape: text{check: CheckAddress, literal: true}, def: "127.0.0.1:4318", meaning: "where OTLP/HTTP is taken"},
		{name: "api", shape: text{check: CheckAddress, literal: true}, def: "127.0.0.1:8080", meaning: "where the API, /metrics and health answer"},
	}}},
	{name: "ingest", shape: &group{fields: []field{
		{name: "auth", shape: text{check: checkOneOf(AuthNone, "")}, meaning: `"none" takes usage from anybody who reaches an address off loopback`},
		{name: "on_bad_credential", shape: text{check: checkOneOf(OnBadReject, OnBadRetry)}, def: OnBadReject, meaning: "how a bad credential is answered"},
		{name: "max_body_bytes", shape: text{check: checkBytes, literal: true}, def: "67108864", meaning: "the largest request, decompressed"},
		{name: "requests_per_second", shape: text{check: checkRate, literal: true}, def: "0", meaning: "how many requests a second each producer may send; 0: no limit"},
		{name: "keys", shape: list{of: &group{fields: []field{
			{name: "name", shape: text{check: checkProducer}, required: true},
			{name: "files", shape: list{of: text{check: checkPath}, check: checkFiles}, required: true},
		}}, check: checkProducers}, meaning: "producers whose tokens lie in files"},
		{name: "tls", shape: tls},
	}}},
	{name: "api", shape: &group{fields: []field{
		{name: "admin_token_file", shape: text{}, path: true, meaning: "the file of a token that opens all of the API"},
		{name: "tls", shape: serverTLS},
	}}},
	{name: "signing_key", shape: text{}, path: true, meaning: "the private key of checkpoints"},
	{name: "engines", shape: list{of: &group{fields: []field{
		{name: "match", shape: attributes{}, required: true},
		{name: "model", shape: text{}},
		{name: "role", shape: text{check: checkOneOf(roles...)}},
		{name: "beams", shape: text{check: checkOneOf(beams...)}},
	}}}, meaning: "what is known about engines"},
	{name: "attribution", shape: &group{fields: []field{
		{name: "order", shape: list{of: text{check: checkRule}, commas: true, check: checkOrder}, def: strings.Join(defaultOrder, ","), meaning: "the rules that say who pays, best first"},
		{name: "request_id", shape: list{of: text{check: checkPattern}}, meaning: "patterns that find the customer in a request id"},
		{name: "resource", shape: list{of: &group{fields: []field{
			{name: "match", shape: attributes{}, required: true},
			{name: "customer", shape: text{check: checkID("customer")}, required: true},
			{name: "project", shape: text{check: checkID("project")}},
		}}}, meaning: "who pays for what an engine does"},
	}}},
	{name: "prices", shape: text{}, path: true, meaning: "the file of prices"},
	{name: "invoice", shape: &group{fields: []field{
		{name: "currency", shape: text{check: checkCurrency}, def: "USD", meaning: "the currency of invoices"},
		{name: "time_zone", shape: text{check: checkTimeZone}, def: "UTC", meaning: "whose calendar months are invoiced"},
		{name: "rounding", shape: text{check: checkRounding}, def: "half-even", meaning: "how a line of an invoice is rounded"},
		{name: "grace", shape: text{check: checkGrace, literal: true}, def: "24h", meaning: "how long after a period's end it may be finalised"},
		{name: "issuer", shape: &group{fields: []field{
			{name: "name", shape: text{}, meaning: "who sends the invoices, as it stands on them"},
			{name: "address", shape: text{}, meaning: "what stands below the name, in lines"},
		}}},
		{name: "note", shape: text{}, meaning: "a text below the total, such as when and how to pay"},
	}}},
}}

var serverTLS = &group{fields: []field{
	{name: "cert", shape: text{}, path: true, meaning: "the certificate chain, PEM"},
	{name: "key", shape: text{}, path: true, meaning: "its private key, PEM"},
}}

// tls is serverTLS with mutual TLS, by which a producer can say who it is.
var tls = &group{fields: append(slices.Clone(serverTLS.fields),
	field{name: "client_ca", shape: text{}, path: true, meaning: "the authorities whose client certificates are let in, PEM"},
)}

// Key describes one key of tollkeeper.yaml that holds a value or a list.
type Key struct {
	// Name is nested by dots: "invoice.currency".
	Name string
	// Variable is the environment variable that overrides it.
	Variable string
	// Default is what it is when nobody says anything; "" is nothing.
	Default string
	// Meaning is a phrase for a table.
	Meaning string

	shape shape
	path  bool
}

// Keys lists the keys in the order of the documentation. There is no key for a
// secret: keys and certificates are named by their files.
func Keys() []Key { return keysOf(schema, "") }

func keysOf(g *group, above string) []Key {
	var out []Key
	for _, f := range g.fields {
		name := join(above, f.name)
		if below, ok := f.shape.(*group); ok {
			out = append(out, keysOf(below, name)...)
			continue
		}
		out = append(out, Key{name, variable(name), f.def, f.meaning, f.shape, f.path})
	}
	return out
}

// variablePrefix marks the environment variables that are ours.
const variablePrefix = "TOLLKEEPER_"

// variable is the environment variable of a key.
func variable(name string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}
