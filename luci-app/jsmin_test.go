package luciapp

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// minified does with a script what LuCI's build does: blanks and comments go that
// mean nothing. It takes what that program takes (modules/luci-base/src/jsmin.c, after
// Douglas Crockford's), and so knows no templates within templates.
func minified(src []byte) ([]byte, error) {
	m := minifier{src: bytes.ReplaceAll(src, []byte("\r"), []byte("\n")), a: '\n'}
	err := m.shift()
	for err == nil && m.a != 0 {
		err = m.step()
	}
	return m.out, err
}

// A minifier sees two characters at once: a is written unless it means nothing before
// b. 0 is the end.
type minifier struct {
	src, out []byte
	a, b     byte
	x, y     byte // the last two that were read, comments as one blank
}

var (
	errText    = errors.New("a text or a regular expression does not end")
	errComment = errors.New("a comment does not end")
)

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c == '_' || c == '$' || c == '\\' || c > 126
}

// step writes a, or leaves a or b out.
func (m *minifier) step() error {
	const opens, closes = "{[(+-!~", "}])+-\"'`"
	switch {
	case m.a == ' ' && isWord(m.b),
		m.a == '\n' && (m.b != 0 && strings.IndexByte(opens, m.b) >= 0 || isWord(m.b)),
		m.a != ' ' && m.a != '\n' && m.b == ' ' && isWord(m.a),
		m.a != ' ' && m.a != '\n' && m.b == '\n' && (strings.IndexByte(closes, m.a) >= 0 || isWord(m.a)),
		m.a != ' ' && m.a != '\n' && m.b != ' ' && m.b != '\n':
		m.put(m.a)
		if isBlank(m.y) && isSign(m.a) && isSign(m.b) {
			m.put(m.y)
		}
		return m.drop()
	case m.a == '\n' && m.b == ' ', m.a != ' ' && m.a != '\n':
		return m.shift()
	}
	return m.drop()
}

func isBlank(c byte) bool { return c == ' ' || c == '\n' }
func isSign(c byte) bool  { return c != 0 && strings.IndexByte("+-*/", c) >= 0 }

func (m *minifier) put(c byte) { m.out = append(m.out, c) }

// drop makes a of b; a text is written as a whole.
func (m *minifier) drop() error {
	m.a = m.b
	if m.a == '\'' || m.a == '"' || m.a == '`' {
		for {
			m.put(m.a)
			if m.a = m.get(); m.a == m.b {
				break
			}
			if m.a == '\\' {
				m.put(m.a)
				m.a = m.get()
			}
			if m.a == 0 {
				return errText
			}
		}
	}
	return m.shift()
}

// shift reads the next b; a regular expression is written as a whole.
func (m *minifier) shift() error {
	if err := m.next(); err != nil {
		return err
	}
	if m.b != '/' || strings.IndexByte("(,=:[!&|?+-~*/{};", m.a) < 0 {
		return nil
	}
	m.put(m.a)
	if m.a == '/' || m.a == '*' {
		m.put(' ')
	}
	m.put(m.b)
	for {
		switch m.a = m.get(); {
		case m.a == '[':
			if err := m.class(); err != nil {
				return err
			}
		case m.a == '/':
			if c := m.peek(); c == '/' || c == '*' {
				return errText
			}
			return m.next()
		case m.a == '\\':
			m.put(m.a)
			m.a = m.get()
		}
		if m.a == 0 {
			return errText
		}
		m.put(m.a)
	}
}

// class writes the characters within brackets, but for the last bracket.
func (m *minifier) class() error {
	for {
		m.put(m.a)
		if m.a = m.get(); m.a == ']' {
			return nil
		}
		if m.a == '\\' {
			m.put(m.a)
			m.a = m.get()
		}
		if m.a == 0 {
			return errText
		}
	}
}

func (m *minifier) peek() byte {
	if len(m.src) == 0 {
		return 0
	}
	if c := m.src[0]; c >= ' ' || c == '\n' {
		return c
	}
	return ' '
}

func (m *minifier) get() byte {
	c := m.peek()
	m.src = m.src[min(1, len(m.src)):]
	return c
}

// next reads b; a comment is one blank.
func (m *minifier) next() error {
	m.b = m.get()
	if c := m.peek(); m.b == '/' && c == '/' {
		for m.b != '\n' && m.b != 0 {
			m.b = m.get()
		}
	} else if m.b == '/' && c == '*' {
		_, rest, ok := bytes.Cut(m.src[1:], []byte("*/"))
		if !ok {
			return errComment
		}
		m.src, m.b = rest, ' '
	}
	m.y, m.x = m.x, m.b
	return nil
}

// What jsmin of LuCI makes of the same scripts.
func TestJSMin(t *testing.T) {
	for src, want := range map[string]string{
		"'use strict';\n'require view';\n\n/* a\n * b */\nconst a = 1; // c\nlet b\n": "'use strict';'require view';const a=1;let b",
		"if (a)\n\treturn a + +b;\n\nf(x)\n++y\n":                                     "\nif(a)\nreturn a+ +b;f(x)\n++y",
		"a = /[/'\"]\\//g.test( 'it\\'s  //' ) ? b / c : \"/* */\"\r\n[ 1 ]":          "\na=/[/'\"]\\//g.test('it\\'s  //')?b/c:\"/* */\"\n[1]",
		"x = function() { return { 'a' : 'é' } }\n(y)":                                "\nx=function(){return{'a':'é'}}\n(y)",
	} {
		got, err := minified([]byte(src))
		if err != nil || string(got) != want {
			t.Errorf("%q becomes %q, %v, want %q", src, got, err, want)
		}
	}
	for src, want := range map[string]error{"'a": errText, "a = /b": errText, "a = /[b": errText, "a = /b//c": errText, "/* a": errComment, "`${`//`}`": nil} {
		if _, err := minified([]byte(src)); !errors.Is(err, want) {
			t.Errorf("%q: %v", src, err)
		}
	}
}
