package daemon

import (
	"net/netip"
	"reflect"
	"testing"

	"b4/fw"
)

// Rules are alike where no field of their configuration differs, however deep.
func TestAlike(t *testing.T) {
	var base fw.Config
	n := fill(reflect.ValueOf(&base).Elem(), -1)
	for i := range n {
		var same, other fw.Config
		fill(reflect.ValueOf(&same).Elem(), -1)
		fill(reflect.ValueOf(&other).Elem(), i)
		if !alike(base, same) || alike(base, other) {
			t.Errorf("field %d: %+v and %+v", i, base, other)
		}
	}
	if n < 30 {
		t.Errorf("%d fields", n)
	}
}

// fill gives every field of v the same value each time, but another one to the field
// with the given number. It returns how many there are.
func fill(v reflect.Value, other int) (n int) {
	pick := func(one, two any) int {
		if other == 0 {
			one = two
		}
		v.Set(reflect.ValueOf(one).Convert(v.Type()))
		return 1
	}
	switch v.Interface().(type) {
	case netip.Addr:
		return pick(netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"))
	case netip.Prefix:
		return pick(netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.0.2.0/25"))
	}
	switch v.Kind() {
	case reflect.Bool:
		return pick(false, true)
	case reflect.String:
		return pick("a", "b")
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			n += fill(v.Index(i), other-n)
		}
		return n
	case reflect.Struct:
		for i := range v.NumField() {
			n += fill(v.Field(i), other-n)
		}
		return n
	}
	return pick(1, 2) // a number
}
