// Package export writes what leaves the program for people: an invoice as a page
// to print or to send.
package export
