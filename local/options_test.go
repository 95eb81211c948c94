package local

import (
	"errors"
	"math"
	"reflect"
	"testing"
)

func TestOptions_haveADefaultEach(t *testing.T) {
	o := reflect.ValueOf(Options{}.withDefaults())
	zero := map[string]bool{"MaxBytes": true, "Engine": true} // their zero values are their defaults
	for i := range o.NumField() {
		if name := o.Type().Field(i).Name; o.Field(i).IsZero() != zero[name] {
			t.Errorf("default of %s: %v", name, o.Field(i))
		}
	}
	if err := (Options{}).withDefaults().validate(); err != nil {
		t.Error(err)
	}
}

func TestOptions_areCheckedEach(t *testing.T) {
	bad := map[string]Options{
		"MaxEntries": {MaxEntries: -1},
		"MaxBytes":   {MaxBytes: -1},
		"Engine":     {Engine: 7},
		"Cost":       {},
		"Clock":      {},
	}
	for i := range reflect.TypeFor[Options]().NumField() {
		name := reflect.TypeFor[Options]().Field(i).Name
		o, ok := bad[name]
		if !ok {
			t.Errorf("no check of %s", name)
			continue
		}
		o = o.withDefaults()
		switch name {
		case "Cost":
			o.Cost = nil
		case "Clock":
			o.Clock = nil
		}
		var field *FieldError
		if err := o.validate(); !errors.Is(err, ErrInvalidOptions) || !errors.As(err, &field) || field.Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNew_reportsEveryFault(t *testing.T) {
	for _, c := range []struct {
		opts   Options
		faults int
	}{
		{Options{MaxEntries: 5, MaxBytes: 1 << 30}, 1},
		{Options{MaxBytes: MinMaxBytes - 1}, 1},
		{Options{MaxEntries: -1, MaxBytes: -1, Engine: 9}, 3},
	} {
		_, err := New(c.opts)
		if joined, ok := err.(interface{ Unwrap() []error }); !ok || len(joined.Unwrap()) != c.faults {
			t.Errorf("New(%+v): %v", c.opts, err)
		}
	}
}

func TestEngineKind_readsItsText(t *testing.T) {
	for _, kind := range engines {
		text, err := kind.MarshalText()
		var back EngineKind
		if err != nil || back.UnmarshalText(text) != nil || back != kind {
			t.Errorf("%v: %q, %v", kind, text, err)
		}
	}
	var kind EngineKind
	if err := kind.UnmarshalText([]byte("bigcache")); !errors.Is(err, ErrInvalidOptions) {
		t.Error(err)
	}
	if _, err := EngineKind(9).MarshalText(); err == nil {
		t.Error("an unknown engine has a text")
	}
}

func TestCost_isEstimatedFromTheValue(t *testing.T) {
	type row struct{ A, B int64 }
	text, raw := "12345678", make([]byte, 10, 32)
	for _, c := range []struct {
		value any
		want  int64
	}{
		{nil, 3}, {text, 27}, {&text, 27}, {raw, 59}, {&raw, 59}, {row{}, 19}, {&row{}, 19}, {(*row)(nil), 11},
		{[]row{{}, {}}, 3 + 24 + 32}, {(*string)(nil), 3},
	} {
		if got := estimateCost("key", c.value); got != c.want {
			t.Errorf("estimateCost(%T) = %d, want %d", c.value, got, c.want)
		}
	}
}

func TestMaxBytes_boundsTheSketchOfRistretto(t *testing.T) {
	for _, limit := range []int64{MinMaxBytes, 100 << 20, 1 << 30, 1 << 50, math.MaxInt64} {
		n := countersForBytes(limit)
		if n&(n-1) != 0 || n < 1<<10 || n > maxCounters || ristrettoSketch(n) > limit/8 {
			t.Errorf("countersForBytes(%d) = %d", limit, n)
		}
	}
}
