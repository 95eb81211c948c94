package remote

// Plain returns err without the name of this package's operation, for a caller that names its own,
// of which the one that failed is a step. It matches what err matches.
func Plain(err error) error {
	e, ok := err.(*Error) //nolint:errorlint // what wraps an *Error has words of its own
	if !ok || e.Op == "" {
		return err
	}
	return &Error{Err: e.Err, kinds: e.kinds}
}
