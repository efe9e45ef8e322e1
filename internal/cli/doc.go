// Package cli is the program: it reads the command line, wires the rooms
// together and prints answers. Nothing imports it but main and tests, which
// run a Program in-process.
package cli
