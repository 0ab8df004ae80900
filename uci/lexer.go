package uci

import (
	"bytes"
	"fmt"
)

// A lexer cuts a file into lines, keywords and words exactly where libuci does
// (openwrt/uci, file.c: uci_getln, next_arg, parse_str and what they call),
// oddities included: a file must not mean one thing to uci and another to b4.
type lexer struct {
	file string
	rest []byte // what has not been read yet
	line []byte // the line at hand, with those that continue it
	pos  int    // the next byte of line
	n    int    // the number of the last line read, from 1
	at   int    // the line on which the current statement begins
	word []byte // the word at hand, reused
}

// next goes to the next line and reports whether there is one.
func (l *lexer) next() bool {
	l.line, l.pos = l.line[:0], 0
	return l.more()
}

// more joins the next line to the one at hand and reports whether there is one.
func (l *lexer) more() bool {
	if len(l.rest) == 0 {
		return false
	}
	end := bytes.IndexByte(l.rest, '\n') + 1
	if end == 0 {
		end = len(l.rest) // no newline at the end of the file
	}
	l.line = append(l.line, l.rest[:end]...)
	l.rest = l.rest[end:]
	l.n++
	return true
}

// peek returns the next byte, or 0 at the end of the line. Parse has seen to it
// that no byte of the file is 0.
func (l *lexer) peek() byte {
	if l.pos == len(l.line) {
		return 0
	}
	return l.line[l.pos]
}

// cut throws away what is left of the line.
func (l *lexer) cut() { l.line = l.line[:l.pos] }

func (l *lexer) skipSpace() {
	for isSpace(l.peek()) {
		l.pos++
	}
}

// keyword returns the first word of a statement, or "" where the line has no
// more statements. Only blanks and tabs end it: "option" with nothing behind it
// comes with its newline and is no keyword.
func (l *lexer) keyword() string {
	for l.peek() == ' ' || l.peek() == '\t' {
		l.pos++
	}
	l.at = l.n
	if l.peek() == '#' {
		l.cut()
	}
	start := l.pos
	for c := l.peek(); c != 0 && c != ' ' && c != '\t'; c = l.peek() {
		l.pos++
	}
	word := string(l.line[start:l.pos])
	if l.peek() != 0 {
		l.pos++
	}
	return word
}

// arg returns the next argument of a statement; none where there is no more,
// which is also what an empty pair of quotes gives. The bytes are valid until
// the next call.
func (l *lexer) arg() ([]byte, error) {
	l.word = l.word[:0]
	l.skipSpace()
	if l.peek() == ';' {
		l.pos++
		return nil, nil
	}
	bare := true // nothing but plain bytes so far
	for first := true; first || l.peek() != 0 && !isSpace(l.peek()); first = false {
		switch c := l.peek(); c {
		case '\'', '"':
			bare = false
			if err := l.quoted(c); err != nil {
				return nil, err
			}
		case '\\':
			bare = false
			l.escaped()
		case '#', 0:
			l.cut()
			return l.word, nil
		case ';':
			if bare { // libuci overwrites this ';' with the word's end, and so loses the rest
				l.cut()
			}
			return l.word, nil
		default:
			l.take()
		}
	}
	if l.peek() != 0 {
		l.pos++
	}
	return l.word, nil
}

// take moves the next byte into the word.
func (l *lexer) take() {
	l.word = append(l.word, l.line[l.pos])
	l.pos++
}

// escaped reads a backslash and what it escapes: the end of the line, which
// joins the next one, or a byte that stands for itself.
func (l *lexer) escaped() {
	l.pos++
	switch string(l.line[l.pos:min(l.pos+3, len(l.line))]) {
	case "", "\n", "\r\n":
		l.cut()
		l.more()
	default:
		l.take()
	}
}

// quoted reads from the opening quote to past the closing one, over as many
// lines as it takes. Backslashes mean something between double quotes only.
func (l *lexer) quoted(quote byte) error {
	opened := l.n
	l.pos++
	for {
		switch c := l.peek(); {
		case c == quote:
			l.pos++
			return nil
		case c == 0:
			if !l.more() {
				return &Error{Place{l.file, opened}, fmt.Sprintf("the quote %c is never closed", quote)}
			}
		case c == '\\' && quote == '"':
			l.escaped()
		default:
			l.take()
		}
	}
}

// errorf is an error at the current statement.
func (l *lexer) errorf(format string, args ...any) error {
	return &Error{Place{l.file, l.at}, fmt.Sprintf(format, args...)}
}

// isSpace is C's isspace.
func isSpace(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }
