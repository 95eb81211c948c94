package coherence

import "testing"

// An instance knows of a message that several of its changes share whether it is to be heeded when
// it comes, whether changes under way are told that it has come, and that all is forgotten when
// nothing can come any more.
func TestOwnChanges_knowTheMessageThatTheyShare(t *testing.T) {
	t.Parallel()
	const (
		acknowledged = iota // a change ends
		failed              // a change ends otherwise
		passedOver          // the message comes, and is passed over
		heeded              // or not
		cameBack            // whoever asks is told that it has come
		unheard             // or not
	)
	for name, c := range map[string]struct {
		changes int
		steps   []int
		left    int // how many are remembered
	}{
		"one, acknowledged first":           {1, []int{unheard, acknowledged, passedOver, heeded}, 0},
		"one, heard first":                  {1, []int{passedOver, cameBack, acknowledged, heeded}, 0},
		"one that failed":                   {1, []int{unheard, failed, heeded}, 0},
		"one, heard, that failed":           {1, []int{passedOver, cameBack, failed, unheard, heeded}, 0},
		"one that is not heard":             {1, []int{acknowledged}, 1},
		"heard before all":                  {3, []int{passedOver, acknowledged, cameBack, acknowledged, cameBack, acknowledged, heeded}, 0},
		"heard amidst":                      {3, []int{acknowledged, unheard, passedOver, cameBack, acknowledged, cameBack, acknowledged, heeded}, 0},
		"heard after all":                   {3, []int{acknowledged, acknowledged, acknowledged, passedOver, heeded}, 0},
		"heard, and all failed":             {3, []int{passedOver, cameBack, failed, cameBack, failed, cameBack, failed, heeded}, 0},
		"heard twice":                       {2, []int{passedOver, passedOver, acknowledged, acknowledged, heeded}, 0},
		"one has left before it came":       {2, []int{failed, heeded, cameBack, acknowledged, heeded}, 0},
		"one has left, and it is not heard": {2, []int{failed, acknowledged, heeded}, 0},
		"the last has left":                 {2, []int{acknowledged, failed, heeded}, 0},
		"one is under way":                  {2, []int{failed}, 1},
		"not heard":                         {2, []int{acknowledged, acknowledged}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			o := ownChanges{instance: 7, known: make(map[uint32]progress)}
			other := o.begin(1)
			p := o.begin(c.changes)
			for i, s := range c.steps {
				switch s {
				case acknowledged, failed:
					o.end(p, s == acknowledged)
					o.conclude(p)
				case passedOver, heeded:
					if got := o.hear(p); got != (s == passedOver) {
						t.Errorf("step %d: passed over %v", i, got)
					}
				default:
					if got := o.heard(p); got != (s == cameBack) {
						t.Errorf("step %d: heard %v", i, got)
					}
				}
			}
			if len(o.known) != c.left+1 || o.heard(other) {
				t.Errorf("%d are remembered, want %d", len(o.known), c.left+1)
			}
			if n := o.early.Load(); n != 0 {
				t.Errorf("%d messages count as passed over early", n)
			}
		})
	}
}

// A message that was passed over while a change is not concluded is not in the table yet: a reader
// that follows the lane for a token has to know.
func TestOwnChanges_knowAMessageThatIsEarly(t *testing.T) {
	t.Parallel()
	o := ownChanges{instance: 7, known: make(map[uint32]progress)}
	p := o.begin(2)
	o.end(p, true)
	o.conclude(p)
	if o.early.Load() != 0 {
		t.Error("nothing was heard")
	}
	if !o.hear(p) || o.early.Load() != 1 {
		t.Error("it is not early, and one of its changes is under way")
	}
	o.end(p, true)
	if o.early.Load() != 1 {
		t.Error("it is not early, and the table was not raised for one of its changes")
	}
	o.conclude(p)
	if n := o.early.Load(); n != 0 || len(o.known) != 0 {
		t.Errorf("%d are early, %d known, and all is concluded", n, len(o.known))
	}
}
