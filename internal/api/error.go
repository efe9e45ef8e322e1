package api

// Error is what is told to a caller.
type Error struct {
	// Status is the HTTP status: 4xx is for the caller to mend, 503 to try again.
	Status  int
	Message string
	// Hint says what to do next, "" when the message does.
	Hint string
	Err  error
}

// Error returns message and hint.
func (e *Error) Error() string {
	s := e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
