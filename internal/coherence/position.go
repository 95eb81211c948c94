package coherence

import (
	"context"
	"slices"

	"github.com/doppio-cache/doppio/internal/lane"
)

// Position is how far a lane had come when a change was acknowledged.
type Position struct {
	Lane int
	ID   lane.ID
}

// Covers reports whether a reader that sees all of have sees all of want.
func Covers(have, want []Position) bool {
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h Position) bool { return h.Lane == w.Lane && h.ID >= w.ID }) {
			return false
		}
	}
	return true
}

// Lagging reports whether this instance has not yet heard of all changes up to these positions.
func (m *Manager) Lagging(positions []Position) bool {
	if m.own.early.Load() > 0 {
		return true // a message that was passed over may be one of these
	}
	for _, p := range positions {
		if p.Lane < len(m.lanes) && m.lanes[p.Lane].receiver.Applied() < uint64(p.ID) {
			return true
		}
	}
	return false
}

// CatchUp makes a remote read of these lanes see what was cleared up to the positions: the remote
// tier has every other change by itself, but of a Clear an instance knows what it has heard.
func (m *Manager) CatchUp(ctx context.Context, positions []Position, lanes ...int) error {
	if err := m.refreshFloors(ctx, lanes...); err != nil {
		return err
	}
	if len(positions) == 0 || !m.Lagging(positions) {
		return nil
	}
	for _, p := range positions {
		if p.Lane >= len(m.lanes) {
			continue
		}
		if err := m.fetchFloors(ctx, p.Lane); err != nil {
			return err
		}
	}
	return nil
}
