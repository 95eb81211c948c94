package remote

import "context"

// Removal is one key of Retire. Seen is the token of the record that is to go, as for Fill.
type Removal struct {
	Key          string
	Seen         []byte
	Announcement *Announcement
}

// Retire removes each record that is still the one whose token was seen, and announces its removal; what has taken its place since
// stays, and nothing is announced. gone tells which records were removed. It works when Redis is out of memory.
func (s *Store) Retire(ctx context.Context, removals []Removal) (gone []bool, errs []error) {
	changes := make([]change, len(removals))
	gone, errs = make([]bool, len(removals)), make([]error, len(removals))
	for i, r := range removals {
		changes[i] = change{key: r.Key, a: r.Announcement, args: []any{r.Seen}}
	}
	s.changeMany(ctx, "retire", retiring, changes, errs, func(i int, _ []any) {
		gone[i] = changes[i].a == nil || changes[i].a.ID > 0
	})
	return gone, errs
}
