package tiered_test

import (
	"context"
	"errors"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/doppio-cache/doppio/tiered"
)

// No read shows a later change of a value that was passed to Set or SetMany, or returned by a
// loader.
func TestSet_keepsNoMemoryOfItsCaller(t *testing.T) {
	t.Parallel()
	_, c := one[[]byte](t, tiered.CacheOptions{})
	buf := []byte("hello")
	check(t, c.Set(t.Context(), "set", buf))
	_, err := c.SetMany(t.Context(), []tiered.Item[[]byte]{{Key: "many", Value: buf}})
	check(t, err)
	_, err = c.SetIfAbsent(t.Context(), "absent", buf)
	check(t, err)
	_, err = c.GetOrSetValue(t.Context(), "value", buf)
	check(t, err)
	_, err = c.GetOrSet(t.Context(), "load", func(context.Context) ([]byte, error) { return buf, nil })
	check(t, err)
	_, err = c.GetOrSetMany(t.Context(), []string{"loads"}, func(context.Context, []string) (map[string][]byte, error) {
		return map[string][]byte{"loads": buf}, nil
	})
	check(t, err)
	copy(buf, "XXXXX")
	for _, key := range []string{"set", "many", "absent", "value", "load", "loads"} {
		if v, err := c.Get(t.Context(), key); err != nil || string(v) != "hello" {
			t.Errorf("%s: %q, %v", key, v, err)
		}
	}
}

// sameEverywhere requires that the setter and another instance read the same value.
func sameEverywhere[V any](t *testing.T, o tiered.CacheOptions, v V) {
	t.Helper()
	_, _, caches := fleet[V](t, 2, o)
	check(t, caches[0].Set(t.Context(), "k", v))
	local, err := caches[0].Get(t.Context(), "k")
	check(t, err)
	remote, err := caches[1].Get(t.Context(), "k")
	check(t, err)
	if !reflect.DeepEqual(local, remote) {
		t.Errorf("%T: local %#v, remote %#v", v, local, remote)
	}
}

type (
	innerDynamic struct{ X any }
	outerDynamic struct{ innerDynamic }
	partlyHidden struct {
		Shown  int
		hidden int
	}
)

func TestGet_givesTheSameFromBothTiers(t *testing.T) {
	t.Parallel()
	packed := tiered.CacheOptions{Codec: tiered.MessagePack()}
	sameEverywhere(t, tiered.CacheOptions{}, time.Now())
	sameEverywhere(t, tiered.CacheOptions{}, struct{ At time.Time }{time.Now().In(time.FixedZone("x", 3600))})
	sameEverywhere(t, tiered.CacheOptions{}, struct {
		A []int  `json:"a,omitempty"`
		B string `json:"-"`
	}{A: []int{}, B: "b"})
	sameEverywhere(t, tiered.CacheOptions{}, outerDynamic{innerDynamic{X: 1}})
	sameEverywhere(t, tiered.CacheOptions{}, []*int{nil})
	sameEverywhere(t, packed, partlyHidden{1, 2})
	sameEverywhere(t, packed, &partlyHidden{1, 2})
}

type writesOnly struct{ N int }

func (writesOnly) MarshalJSON() ([]byte, error) { return []byte(`"n"`), nil }

type readsOnly struct{ N int }

func (*readsOnly) UnmarshalJSON([]byte) error { return errors.New("s3cret") }

// NewCache refuses a type that could be written and never read back, and names the place in it.
// Set refuses a value that its type does not tell, names cache and type, and leaves the stored
// entry as it was.
func TestSet_refusesValuesThatCannotBeReadBack(t *testing.T) {
	t.Parallel()
	client := coherent(t, shared.Client(t), tiered.Options{})
	var option *tiered.OptionError
	_, err := tiered.NewCache[map[string][]struct{ Inner writesOnly }](client, "deep", tiered.CacheOptions{})
	if !errors.As(err, &option) || option.Field != "Codec" || !strings.Contains(option.Reason, "V[][].Inner") {
		t.Errorf("a type that is only written: %v", err)
	}
	c := newCache[readsOnly](t, client, "c", tiered.CacheOptions{})
	err = c.Set(t.Context(), "k", readsOnly{1})
	var encode *tiered.EncodeError
	if !errors.As(err, &encode) || encode.Cache != "c" || !strings.Contains(encode.Type, "readsOnly") || !errors.Is(err, tiered.ErrEncode) || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("a value that does not decode back: %v", err)
	}
	wantMissing(t, c, "k")
	text := newCache[string](t, client, "text", tiered.CacheOptions{MaxValueBytes: 100})
	check(t, text.Set(t.Context(), "k", "old"))
	err = text.Set(t.Context(), "k", strings.Repeat("s3cret", 100))
	wantErr(t, err, tiered.ErrEncode, tiered.ErrValueTooLarge)
	if !strings.Contains(err.Error(), `"text"`) || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
	wantGet(t, text, "k", "old")
}

func TestTags_refusesTooMany(t *testing.T) {
	t.Parallel()
	_, c := one[string](t, tiered.CacheOptions{})
	tags := make([]string, tiered.MaxTags+1)
	for i := range tags {
		tags[i] = strconv.Itoa(i)
	}
	check(t, c.Set(t.Context(), "k", "v", tiered.Tags(tags[1:]...)))
	var option *tiered.OptionError
	if err := c.Set(t.Context(), "k", "w", tiered.Tags(tags...)); !errors.As(err, &option) || !strings.Contains(err.Error(), "1024") {
		t.Errorf("Set: %v", err)
	}
	if _, err := c.SetMany(t.Context(), []tiered.Item[string]{{Key: "k", Value: "w", Tags: tags}}); !errors.As(err, &option) {
		t.Errorf("SetMany: %v", err)
	}
	if _, err := c.GetOrSet(t.Context(), "other", constant("w"), tiered.Tags(tags...)); !errors.As(err, &option) {
		t.Errorf("GetOrSet: %v", err)
	}
	wantGet(t, c, "k", "v")
	check(t, c.InvalidateTags(t.Context(), tags...))
	wantMissing(t, c, "k")
}
