package mark

import "testing"

func TestNew(t *testing.T) {
	s, err := New(Base)
	if err != nil || s.Mask() != 0x0f000000 {
		t.Errorf("%+v, %v", s, err)
	}
	// What others on a router use (mwan3, pbr and tailscale, zapret, qos scripts).
	for _, taken := range []uint32{0x3f00, 0xff0000, 0x60000000, 0xff} {
		if s.Mask()&taken != 0 {
			t.Errorf("shares %#x", s.Mask()&taken)
		}
	}
	seen := uint32(0)
	for _, bit := range []uint32{s.Injected, s.Done, s.Hide, s.Steer} {
		if bit == 0 || bit&(bit-1) != 0 || seen&bit != 0 {
			t.Errorf("%#x is not a bit of its own", bit)
		}
		seen |= bit
	}
	for _, base := range []uint32{1, 1 << 28} {
		if _, err := New(base); err != nil {
			t.Errorf("%#x: %v", base, err)
		}
	}
	for _, base := range []uint32{0, 3, 1 << 29, 1 << 31} {
		if _, err := New(base); err == nil {
			t.Errorf("%#x: no error", base)
		}
	}
}

func TestGroups(t *testing.T) {
	for shift := range 29 {
		s, err := New(1 << shift)
		if err != nil {
			t.Fatal(err)
		}
		own := s.Mask()
		s = s.WithGroups()
		seen := own
		for i := range MaxGroups {
			bit := s.Group(i)
			if bit == 0 || bit&(bit-1) != 0 || seen&bit != 0 {
				t.Errorf("base bit %d, group %d: %#x is not a bit of its own", shift, i, bit)
			}
			seen |= bit
		}
		if seen != s.Mask() {
			t.Errorf("base bit %d: the mask is %#x, its bits %#x", shift, s.Mask(), seen)
		}
	}
}
