package tenant

import "errors"

// What went wrong, for errors.Is. Messages add which value and what to do.
var (
	// ErrInvalid says that a value breaks a rule of this package.
	ErrInvalid = errors.New("invalid")
	// ErrUnauthenticated says that a token is unknown, or no longer good.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrUnavailable says that the store could not be asked: retry.
	ErrUnavailable = errors.New("credential store unavailable")
)
