package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestLoadOrder(t *testing.T) {
	tree := map[string][]string{
		"crc32c_generic": nil,
		"libcrc32c":      nil,
		"nf_conntrack":   {"libcrc32c", "nf_defrag"},
		"nf_defrag":      nil,
		"nf_tables":      {"nfnetlink", "libcrc32c"},
		"nfnetlink":      nil,
		"nft_ct":         {"nf_conntrack", "nf_tables"},
		"stray":          {"gone"},
		"egg":            {"hen"},
		"hen":            {"egg"},
	}
	needs := func(name string) ([]string, bool, error) {
		if name == "ipv6" {
			return nil, false, nil
		}
		deps, ok := tree[name]
		if !ok {
			return nil, false, errors.New(name + " is missing")
		}
		return deps, true, nil
	}
	tests := []struct {
		name, want, order, err string
	}{
		{name: "nothing"},
		{name: "alone", want: "nfnetlink", order: "nfnetlink"},
		{name: "built in", want: "ipv6", order: ""},
		{name: "dependencies first", want: "nft_ct", order: "libcrc32c nf_defrag nf_conntrack nfnetlink nf_tables nft_ct"},
		{name: "shared once, wanted order kept", want: "crc32c_generic nf_tables nf_conntrack nf_tables",
			order: "crc32c_generic nfnetlink libcrc32c nf_tables nf_defrag nf_conntrack"},
		{name: "missing", want: "nosuch", err: "nosuch is missing"},
		{name: "missing below", want: "stray", err: "gone is missing (needed by stray)"},
		{name: "circle", want: "hen", err: "hen depends on itself"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			order, err := loadOrder(strings.Fields(tt.want), needs)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.Fields(tt.order); !slices.Equal(order, want) {
				t.Errorf("got %v, want %v", order, want)
			}
		})
	}
}

func TestParseDepends(t *testing.T) {
	tests := []struct {
		info string
		want []string
	}{
		{"license=GPL\x00depends=nf_tables,nf-conntrack\x00retpoline=Y\x00", []string{"nf_tables", "nf_conntrack"}},
		{"license=GPL\x00depends=\x00intree=Y\x00", nil},
		{"description=it depends=on nothing\x00", nil},
		{"", nil},
	}
	for _, tt := range tests {
		if got := parseDepends([]byte(tt.info)); !slices.Equal(got, tt.want) {
			t.Errorf("parseDepends(%q) = %v, want %v", tt.info, got, tt.want)
		}
	}
}

func TestModuleName(t *testing.T) {
	for path, want := range map[string]string{
		"kernel/net/netfilter/nft_queue.ko": "nft_queue",
		"kernel/drivers/net/a-b.ko":         "a_b",
	} {
		if got := moduleName(path); got != want {
			t.Errorf("moduleName(%q) = %q, want %q", path, got, want)
		}
	}
}
