package luciapp

import (
	"bytes"
	"compress/gzip"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	// maxApp bounds what a router's flash has to bear, and maxPage what a phone's
	// patience: bytes, gzipped, the app as a whole as in its package.
	maxApp  = 60_000
	maxPage = 8_000
)

// Names of hosts are anybody's, so nothing makes HTML of texts; LuCI's minifier
// knows no templates; and old browsers know ES2017 (ECMA-262, 8th edition).
func TestScripts(t *testing.T) {
	for _, path := range scripts(t) {
		k := scriptTokens(t, path)
		for _, odd := range oddities(k) {
			t.Errorf("%s:%s", path, odd)
		}
		if len(k) == 0 || k[0].kind != '\'' || k[0].text != "use strict" {
			t.Errorf("%s does not begin with 'use strict'", path)
		}
		if odd := address.FindString(strings.ReplaceAll(read(t, path), svg, "")); odd != "" {
			t.Errorf("%s names an address in the web: %s", path, odd)
		}
	}
}

// What a script requires it uses, too: each is a file that a browser fetches.
func TestRequired(t *testing.T) {
	for _, path := range scripts(t) {
		all := scriptTokens(t, path)
		for _, k := range all {
			module, ok := strings.CutPrefix(k.text, "require ")
			if k.kind != '\'' || !ok {
				continue
			}
			name, alias, ok := strings.Cut(module, " as ")
			if !ok {
				alias = strings.ReplaceAll(name, ".", "_")
			}
			if !slices.ContainsFunc(all, func(k token) bool { return k.kind == 'w' && k.text == alias }) {
				t.Errorf("%s:%d: %s is not used", path, k.line, name)
			}
			if file, ok := strings.CutPrefix(name, "b4."); ok {
				if _, err := os.Stat(scriptsPath + "/b4/" + file + ".js"); err != nil {
					t.Errorf("%s:%d: %v", path, k.line, err)
				}
			}
		}
	}
}

// The lock file is the same wherever it is made: it names no registry.
func TestLockfile(t *testing.T) {
	if lock := read(t, "package-lock.json"); strings.Contains(lock, `"resolved"`) || !strings.Contains(lock, `"integrity"`) {
		t.Error("package-lock.json: npm install --package-lock-only --omit-lockfile-registry-resolved")
	}
}

// svg is the one address that a script has to name.
const svg = "http://www.w3.org/2000/svg"

var address = regexp.MustCompile(`(?:https?|wss?)://[a-z]\S*`)

// tooNew are methods of later editions than ES2017, but for finally, which LuCI's own
// scripts want.
var tooNew = []string{
	"allSettled", "any", "at", "flat", "flatMap", "fromEntries", "hasOwn", "matchAll", "replaceAll",
	"toSorted", "toSpliced", "toReversed", "structuredClone", "findLast", "trimStart", "trimEnd",
}

// unsafe are the ways from a text to HTML or to a program.
var unsafe = []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "write", "eval", "Function", "srcdoc"}

func oddities(all []token) []string {
	var odd []string
	say := func(at token, what string) { odd = append(odd, strconv.Itoa(at.line)+": "+what) }
	var open []string // brackets
	for i, k := range all {
		var prev, next token
		if i > 0 {
			prev = all[i-1]
		}
		if i+1 < len(all) {
			next = all[i+1]
		}
		switch {
		case k.kind == '`':
			say(k, "a template literal")
		case k.kind == '/' && strings.ContainsAny(k.text[strings.LastIndexByte(k.text, '/'):], "sdv"), k.kind == '/' && strings.Contains(k.text, "(?<"):
			say(k, "a regular expression newer than ES2017: "+k.text)
		case k.is("?.") || k.is("??") || k.is("#") || k.is("@"):
			say(k, "syntax newer than ES2017: "+k.text)
		case k.is("..."):
			if len(open) > 0 && open[len(open)-1] == "{" {
				say(k, "properties spread, newer than ES2017")
			}
		case k.is("{") && prev.is("catch"):
			say(k, "catch without a name, newer than ES2017")
		case k.kind == 'w' && prev.is(".") && slices.Contains(tooNew, k.text) && next.is("("):
			say(k, "a method newer than ES2017: "+k.text)
		case k.kind == 'w' && slices.Contains(unsafe, k.text) && (prev.is(".") || prev.is("new") || k.text == "eval") && (k.text != "write" || i > 1 && all[i-2].is("document")):
			say(k, "a way from text to HTML or program: "+k.text)
		}
		if k.kind == 'p' {
			switch k.text {
			case "(", "[", "{":
				open = append(open, k.text)
			case ")", "]", "}":
				if len(open) > 0 {
					open = open[:len(open)-1]
				}
			}
		}
	}
	calls(all, "E", func(at token, args [][]token) {
		for i, arg := range args {
			if i > 0 && bare(arg) && !(i == 1 && arg[0].is("{")) {
				say(at, "E() is given a bare text, which would become HTML")
			}
		}
	})
	for _, name := range []string{"content", "append"} {
		calls(all, name, func(at token, args [][]token) {
			if len(args) == 2 && bare(args[1]) {
				say(at, name+"() is given a bare text, which would become HTML")
			}
		})
	}
	return odd
}

// bare says whether an argument has a text outside of any bracket.
func bare(arg []token) bool {
	depth := 0
	for i, k := range arg {
		switch {
		case k.is("(") || k.is("[") || k.is("{"):
			depth++
		case k.is(")") || k.is("]") || k.is("}"):
			depth--
		case depth > 0:
		case k.kind == '\'':
			return i == 0 || !arg[i-1].is("==") && !arg[i-1].is("===") && !arg[i-1].is("!=")
		case k.kind == 'w' && (k.text == "_" || k.text == "N_" || k.text == "format") && i+1 < len(arg) && arg[i+1].is("("):
			return true
		}
	}
	return false
}

func TestOddities(t *testing.T) {
	for _, bad := range []string{
		"x = `", "a?.b", "a ?? b", "x = { ...y }", "try { } catch { }", "a.flat()", "a.replaceAll('b', 'c')", "/a/s.test(b)", "/(?<x>a)/",
		"n.innerHTML = b", "document.write(a)", "eval(a)", "new Function(a)", "class A { #x }",
		"E('p', 'a')", "E('p', {}, 'a')", "E('p', {}, _('a'))", "E('p', {}, '%d'.format(a))", "E('p', {}, a ? 'b' : [])",
		"dom.content(node, 'a')", "dom.append(node, _('a'))", "E('p', {}, a + 'b')",
	} {
		k, err := tokens("a.js", bad)
		if err != nil || len(oddities(k)) != 1 {
			t.Errorf("%s: %q, %v", bad, oddities(k), err)
		}
	}
	for _, good := range []string{
		"f(...a)", "x = [ ...y ]", "try { } catch (e) { }", "a ? .5 : b", "E('p')", "E('p', { 'class': 'a' }, [ 'b' ])", "E('p', {}, f('a'))",
		"E('p', [ _('a') ])", "E('p', {}, a == 'b' ? [ c ] : d)", "dom.content(node, [ 'a' ])", "node.append(a)", "a.write(b)", "a.at.b", "E('p', {}, a.map(function() { return 'b' }))",
	} {
		k, err := tokens("a.js", good)
		if odd := oddities(k); err != nil || len(odd) > 0 {
			t.Errorf("%s: %q, %v", good, odd, err)
		}
	}
}

// What LuCI's build makes of the scripts are scripts still, the same words in the
// same order.
func TestMinified(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for _, path := range scripts(t) {
		small, err := minified([]byte(read(t, path)))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		before := scriptTokens(t, path)
		after, err := tokens(path, string(small))
		if err != nil {
			t.Fatal(err)
		}
		for i, k := range before {
			if i == len(after) || k.kind != after[i].kind || k.text != after[i].text {
				t.Errorf("%s:%d: another script when it is minified. Perhaps a regular expression wants parentheses around it: %s", path, k.line, k.text)
				break
			}
		}
		// As LuCI runs it: within a function.
		name := filepath.Join(dir, strings.ReplaceAll(path, "/", "_"))
		if err := os.WriteFile(name, slices.Concat([]byte("(function() {"), small, []byte("\n})")), 0o644); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node on PATH: the minified scripts are not parsed")
	}
	for _, name := range names {
		if out, err := exec.Command(node, "--check", name).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}
}

// The app is small, as is each of its pages.
func TestSize(t *testing.T) {
	var app []byte
	for _, dir := range []string{"htdocs", "root"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			file := []byte(read(t, path))
			if n := zipped(t, file); n > maxPage {
				t.Errorf("%s has %d bytes, more than %d", path, n, maxPage)
			}
			app = append(app, file...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	n := zipped(t, app)
	if n > maxApp {
		t.Errorf("the app has %d bytes, more than %d", n, maxApp)
	}
	t.Logf("%d bytes of %d", n, maxApp)
}

// zipped is the size of b, gzipped.
func zipped(t *testing.T, b []byte) int {
	t.Helper()
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Len()
}
