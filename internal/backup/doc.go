// Package backup is about backups as files: how they are gathered, kept, packed
// into a tar, read again from a folder or a tar of anybody's, and put in their
// place, so that what is half done is never taken for whole. What is in the files
// is for others to write and to verify.
package backup
