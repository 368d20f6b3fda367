package hub

import (
	"context"
	"errors"
	"testing"
)

// TestAttempt: what nobody answers is asked again, well before the time is over; an
// answer that says no is an answer.
func TestAttempt(t *testing.T) {
	asked := 0
	err := attempt(t.Context(), func(ctx context.Context) error {
		if asked++; asked == 1 {
			<-ctx.Done() // a cluster without a leader
			return ctx.Err()
		}
		return nil
	})
	if err != nil || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	no := errors.New("no")
	asked = 0
	err = attempt(t.Context(), func(context.Context) error { asked++; return no })
	if !errors.Is(err, no) || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}
