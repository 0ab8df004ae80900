package b4

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowed is the architecture: each package and everything of ours, or of
// third parties, that it may import. The standard library is always allowed
// except os/exec, which is allowed nowhere.
var allowed = map[string][]string{
	"mark":          nil,
	"packet":        nil,
	"tlshello":      nil,
	"http1":         nil,
	"quic":          {"tlshello"},
	"match":         nil,
	"engine":        nil,
	"censor":        {"packet", "tlshello", "quic"},
	"nstest":        {"golang.org/x/sys/unix"},
	"nlwatch":       {"golang.org/x/sys/unix"},
	"rtnl":          {"nlwatch", "golang.org/x/sys/unix"},
	"netif":         {"rtnl", "unixsock", "golang.org/x/sys/unix"},
	"route":         {"mark", "nlwatch", "rtnl", "golang.org/x/sys/unix"},
	"control":       {"unixsock", "golang.org/x/sys/unix"},
	"uci":           nil,
	"flow":          {"packet"},
	"desync":        {"engine", "packet", "tlshello", "quic", "http1"},
	"pipeline":      {"engine", "packet", "flow", "match", "tlshello", "quic", "http1", "desync"},
	"wait":          {"golang.org/x/sys/unix"},
	"unixsock":      {"golang.org/x/sys/unix"},
	"mmsg":          {"golang.org/x/sys/unix"},
	"tun":           {"engine", "packet", "wait", "golang.org/x/sys/unix"},
	"tun/tuntest":   {"engine", "tun"},
	"nfq":           {"engine", "mmsg", "packet", "wait", "golang.org/x/sys/unix"},
	"nfq/nfqtest":   {"engine"},
	"inject":        {"engine", "mark", "mmsg", "golang.org/x/sys/unix"},
	"fw":            {"mark", "nlwatch", "github.com/google/nftables", "github.com/mdlayher/netlink", "golang.org/x/sys/unix"},
	"daemon":        {"uci", "engine", "pipeline", "nfq", "tun", "inject", "fw", "route", "control", "match", "desync", "mark", "netif", "golang.org/x/sys/unix"},
	"openwrt/lmo":   nil,
	"openwrt/mkpkg": {"openwrt/lmo"},
	"confine":       {"golang.org/x/sys/unix"},
	"cmd/b4d":       {"daemon", "control", "uci", "confine", "golang.org/x/sys/unix"},
}

func TestImports(t *testing.T) {
	const module = "b4"
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != "." {
			if _, nested := os.Stat(filepath.Join(path, "go.mod")); nested == nil {
				return filepath.SkipDir // a module of its own, with imports of its own
			}
		}
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
			return err
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		if pkg == "." || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		want, known := allowed[pkg]
		if !known {
			t.Errorf("%s: package %s is not in the architecture table", path, pkg)
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			if !permitted(want, imp, strings.TrimPrefix(imp, module+"/")) {
				t.Errorf("%s: %s may not import %s", path, pkg, imp)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func permitted(want []string, imp, short string) bool {
	if imp == "os/exec" || imp == "syscall" {
		return false
	}
	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		return true // standard library
	}
	return slices.ContainsFunc(want, func(w string) bool {
		return short == w || strings.HasPrefix(short, w+"/")
	})
}
