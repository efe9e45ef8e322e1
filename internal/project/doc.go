// Package project follows a journal into a usage store: it reads entries in
// order, applies the policy that governs them, and hands the store facts in
// whole-entry batches. A store that lost its place, or its files, gets the
// entries again; nothing but the journal is needed.
package project
