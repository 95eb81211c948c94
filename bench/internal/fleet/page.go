package fleet

import (
	"bytes"
	"fmt"
	"io"
)

// paged writes what fill puts on a page all at once, so that only one write can fail.
func paged(w io.Writer, fill func(*bytes.Buffer) error) error {
	var page bytes.Buffer
	if err := fill(&page); err != nil {
		return err
	}
	if _, err := page.WriteTo(w); err != nil {
		return fmt.Errorf("fleet: write: %w", err)
	}
	return nil
}
