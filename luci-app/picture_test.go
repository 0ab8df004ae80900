package luciapp

import (
	"fmt"
	"testing"
)

const picturePath = "htdocs/luci-static/resources/b4/picture.js"

// A shape is a bar of the picture: bytes of the message or not, and letters of the
// name, by percents of the width.
type shape struct {
	Parts []struct {
		Kind     string
		X, Width float64
	}
	Letters []struct {
		X      float64
		Letter string
	}
}

func (s *shape) letters() (text string) {
	for _, l := range s.Letters {
		text += l.Letter
	}
	return text
}

func (s *shape) kinds() (text string) {
	for _, p := range s.Parts {
		text += p.Kind[:1]
	}
	return text
}

type shapes struct {
	shape
	Marks []struct {
		Name  string
		X     float64
		Level int
	}
	Rows []struct {
		shape
		Count int
	}
	More int
}

func packet(from, to int, decoy bool, ttl, after int, text string) map[string]any {
	return map[string]any{"from": from, "to": to, "decoy": decoy, "ttl": ttl, "after": after, "text": text}
}

// sample is a reply of the method preview about a message with a name.
func sample(packets ...map[string]any) map[string]any {
	mark := func(name string, at int) map[string]any { return map[string]any{"name": name, "at": at} }
	return map[string]any{
		"host": "www.example.org", "length": 517, "packets": packets,
		"marks": []any{mark("exts", 94), mark("sniext", 94), mark("host", 103), mark("sld", 107), mark("midsld", 111), mark("endsld", 114), mark("endhost", 118), mark("alpn", 142)},
	}
}

// The packets stand at their places of the message, with their letters of the name,
// and those that are alike in one row.
func TestPictureShapes(t *testing.T) {
	decoy := packet(0, 517, true, 8, 0, "bytes 0-517, ttl 8")
	reply := sample(packet(111, 517, false, 64, 0, ""), decoy, decoy, packet(1, 111, false, 64, 0, ""), packet(0, 1, false, 64, 20, ""), packet(517, 517, true, 64, 0, "rst"))
	var s shapes
	into(t, called(t, picturePath, []call{{"shapes", reply, "tls"}})[0], &s)
	if s.letters() != "www.example.org" || s.kinds() != "mn" || s.Parts[0].X != 0 || s.Parts[0].Width < 99.9 || len(s.Rows) != 5 || s.More != 0 {
		t.Fatalf("%+v", s)
	}
	want := []struct {
		letters, kinds string
		count          int
	}{{"ple.org", "mn", 1}, {"", "d", 2}, {"www.exam", "mn", 1}, {"", "m", 1}, {"", "d", 1}}
	for i, w := range want {
		r := &s.Rows[i]
		if r.letters() != w.letters || r.kinds() != w.kinds || r.Count != w.count {
			t.Errorf("row %d: %+v, want %+v", i, r, w)
		}
		for _, p := range r.Parts {
			if p.X < 0 || p.Width <= 0 || p.X+p.Width > 101 {
				t.Errorf("row %d: part %+v", i, p)
			}
		}
	}
	cut := s.Rows[0].Parts[0].X
	if first := s.Rows[2].Parts[0]; first.X+first.Width < cut-.01 || first.X+first.Width > cut+.01 {
		t.Errorf("one packet ends at %v, the next begins at %v", first.X+first.Width, cut)
	}
	if one := s.Rows[3].Parts[0]; one.Width < 1 {
		t.Errorf("one byte is %v %% wide", one.Width)
	}
	for i, m := range s.Marks {
		for _, right := range s.Marks[i+1:] {
			if end := m.X + float64(len(m.Name)*6)/3; right.X < end && right.Level >= m.Level {
				t.Errorf("the line of %s crosses the label of %s", right.Name, m.Name)
			}
		}
	}
}

// What QUIC's packets hide is no place in them; and a picture ends.
func TestPictureBounds(t *testing.T) {
	var many []map[string]any
	for i := range 100 {
		many = append(many, packet(i, i+1, false, 64, 0, ""))
	}
	results := called(t, picturePath, []call{{"shapes", sample(packet(0, 1300, false, 64, 0, "udp of 1300 bytes, ttl 64")), "quic"}, {"shapes", sample(many...), "tls"}})
	var quic, long shapes
	into(t, results[0], &quic)
	into(t, results[1], &long)
	if len(quic.Marks) != 0 || quic.letters() != "" || quic.kinds() != "m" || quic.Parts[0].Width >= 100 || quic.Rows[0].Parts[0].Width < 99.9 {
		t.Errorf("%+v", quic)
	}
	if len(long.Rows) == 100 || len(long.Rows)+long.More != 100 {
		t.Errorf("%d rows, %d more", len(long.Rows), long.More)
	}
}

// The words say all that the picture shows, and what it does not.
func TestPictureWords(t *testing.T) {
	row := func(p map[string]any, count int) any { return map[string]any{"packet": p, "count": count} }
	got := fmt.Sprintf("%s", called(t, picturePath, []call{
		{"say", row(packet(0, 111, false, 64, 0, "bytes 0-111, ttl 64"), 1), 64},
		{"say", row(packet(0, 517, true, 8, 20, "bytes 0-517, ttl 8, 20ms later"), 3), 64},
		{"say", row(packet(517, 517, true, 64, 0, "bytes 517-517, ttl 64"), 1), 64},
		{"say", row(packet(0, 0, false, 64, 1, "bytes 0-0, ttl 64, 1ms later"), 1), 64},
		{"say", row(packet(0, 1, false, 64, 0, "bytes -8-1, ttl 64"), 1), 64},
		{"say", row(packet(0, 517, true, 8, 0, "bytes 0-517, ttl 8, rst, bad checksum, md5 option"), 1), 64},
		{"say", row(packet(0, 16, true, 64, 0, "fragment, bytes 0-48 of the datagram, ttl 64"), 1), 64},
		{"say", row(packet(0, 1300, false, 64, 0, "udp of 1300 bytes, ttl 64"), 1), 64},
	}))
	want := `["Bytes 0 to 111" "Decoy of bytes 0 to 517, TTL 8, 20 ms later, 3 times" "Decoy without data" "Nothing of the message, 1 ms later" ` +
		`"Bytes 0 to 1, bytes ` + "\u200e" + `-8 to 1" "Decoy of bytes 0 to 517, rst, wrong checksum, TCP MD5 signature, TTL 8" ` +
		`"Decoy of bytes 0 to 16, fragment, bytes 0 to 48 of the datagram" "Bytes 0 to 1300"]`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
