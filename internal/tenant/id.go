package tenant

import (
	"encoding/base32"
	"fmt"
	"io"
	"regexp"
)

// crockford is Crockford's base32 in lower case: no i, l, o, u to misread.
var crockford = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// namePattern is what a customer or project id looks like: a word that needs no
// quoting in a shell, a URL or a file name. Ids are case-sensitive.
var namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,62}$`)

// CheckID refuses an id that is no id of a customer or project. kind names it
// in the error, which wraps ErrInvalid.
func CheckID(kind, id string) error {
	if !namePattern.MatchString(id) {
		return fmt.Errorf("%w %s id %q: 1 to 63 of A-Z a-z 0-9 . _ @ -, a letter or digit first", ErrInvalid, kind, id)
	}
	return nil
}

// randomText reads n bytes of chance and writes them in base32.
func randomText(chance io.Reader, n int) (string, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(chance, b); err != nil {
		return "", fmt.Errorf("reading random bytes: %w", err)
	}
	return crockford.EncodeToString(b), nil
}
