// Package api is what tollkeeper answers: the questions and answers that the
// command line, the HTTP API and its client share. Local answers from a data
// directory, also beside a running server; Client asks a server; Handler serves
// a Local over HTTP.
package api
