package uci

import (
	"strings"
	"testing"
)

func TestNormalise(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Repeat(label+".", 3) + strings.Repeat("b", 61) // 253 bytes
	tests := []struct{ in, want, err string }{
		{in: "example.org", want: "example.org"},
		{in: "Example.ORG.", want: "example.org"},
		{in: "*.example.org", want: "example.org"},
		{in: ".example.org", want: "example.org"},
		{in: "org", want: "org"},
		{in: "_dmarc.a-b.xn--p1ai", want: "_dmarc.a-b.xn--p1ai"},
		{in: "*", want: "*"},
		{in: "Пример.рф", want: "Пример.рф"},
		{in: long + ".", want: long},

		{in: "", err: `"" has an empty label: want a name such as example.org`},
		{in: ".", err: `"." has an empty label: want a name such as example.org`},
		{in: "a..b", err: `"a..b" has an empty label: want a name such as example.org`},
		{in: "a.b..", err: `"a.b.." has an empty label: want a name such as example.org`},
		{in: "a b", err: `"a b" has blanks or commas: write each name on a list line of its own`},
		{in: "a,b", err: `"a,b" has blanks or commas: write each name on a list line of its own`},
		{in: "a.*.b", err: `"a.*.b" has a * in its midst: a name stands for all names below it anyway`},
		{in: "*example.org", err: `"*example.org" has a * in its midst: a name stands for all names below it anyway`},
		{in: "a!b.org", err: `"a!b.org" has '!', which no name has`},
		{in: label + "a.org", err: `"` + label + `a.org" has a label of more than 63 bytes`},
		{in: long + "b", err: `"` + long[:80] + `"... has more than 253 bytes`},
		{in: "https://User@Example.org:443/watch?v=1", err: `"https://User@Example.org:443/watch?v=1" is more than a name: write "example.org"`},
		{in: "example.org/x", err: `"example.org/x" is more than a name: write "example.org"`},
		{in: "example.org:443", err: `"example.org:443" is more than a name: write "example.org"`},
		{in: "https://", err: `"https://" is not a name: want one such as example.org`},
		{in: "2001:db8::1", err: `"2001:db8::1" is not a name: want one such as example.org`},
	}
	for _, tt := range tests {
		got, err := normalise(tt.in)
		if tt.err == "" && err == nil && got == tt.want {
			continue
		}
		if err == nil || err.Error() != tt.err {
			t.Errorf("%q: got %q, error %v\nwant %q, error %s", tt.in, got, err, tt.want, tt.err)
		}
	}
}
