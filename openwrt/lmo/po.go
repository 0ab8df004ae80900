package lmo

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Message is one entry of a catalogue. All of its texts are without quotes
// and escapes.
type Message struct {
	Context string   // msgctxt; "" is none
	ID      string   // msgid; "" is the header's
	Plural  string   // msgid_plural; "" where the text does not depend on a number
	Text    []string // msgstr, or msgstr[0] and so on, at least one; an empty one is not translated
	Places  []string // where the text is used, as the comments "#:" have it
	Fuzzy   bool     // a guess that a translator has to look at
	Line    int      // where it begins, from 1
}

const (
	// maxLine is the longest line in bytes that po2lmo reads as one.
	maxLine = 4094

	// maxForms is how many plural forms po2lmo takes.
	maxForms = 10
)

// Parse reads a catalogue (.po or .pot), in the order of the file. Comments of
// translators, obsolete messages and flags but fuzzy are left out. What po2lmo
// would misread is an error: each says its line.
func Parse(file []byte) ([]Message, error) {
	if !utf8.Valid(file) {
		return nil, errors.New("the catalogue is not UTF-8")
	}
	var p parser
	for i, line := range strings.Split(string(file), "\n") {
		p.line = i + 1
		if err := p.take(strings.TrimSuffix(line, "\r")); err != nil {
			return nil, fmt.Errorf("line %d: %w", p.line, err)
		}
	}
	p.line++
	if err := p.finish(); err != nil {
		return nil, fmt.Errorf("line %d: %w", p.line, err)
	}
	return p.all, nil
}

// What a message has so far; each keyword asks for one of these before it.
const (
	hasNothing = iota
	hasContext
	hasID
	hasPlural
	hasText
)

// A parser reads line by line.
type parser struct {
	all  []Message
	seen map[[2]string]bool // contexts and texts

	msg  Message
	has  int
	last *string // where a line that is only a string goes on
	line int
}

var errOrder = errors.New("not here: a message is msgctxt if it has one, msgid, msgid_plural if it has one, msgstr")

func (p *parser) take(line string) error {
	if len(line) > maxLine {
		return fmt.Errorf("more than %d bytes", maxLine)
	}
	if line == "" {
		return nil
	}
	if line[0] == '#' {
		return p.comment(line)
	}
	if line[0] == '"' {
		if p.last == nil {
			return errOrder
		}
		return p.more(line)
	}
	keyword, quoted, ok := strings.Cut(line, " ")
	if !ok {
		return fmt.Errorf("neither a keyword with its text nor a text: %q", line)
	}
	if err := p.keyword(keyword); err != nil {
		return err
	}
	return p.more(quoted)
}

// keyword makes last the text that a keyword stands before.
func (p *parser) keyword(word string) error {
	switch {
	case word == "msgctxt":
		if err := p.finish(); err != nil {
			return err
		}
		p.last, p.has = &p.msg.Context, hasContext
	case word == "msgid":
		if p.has != hasContext {
			if err := p.finish(); err != nil {
				return err
			}
		}
		p.last, p.has = &p.msg.ID, hasID
	case word == "msgid_plural" && p.has == hasID:
		p.last, p.has = &p.msg.Plural, hasPlural
	case word == "msgstr" && p.has == hasID:
		p.form()
	case word == "msgstr["+strconv.Itoa(len(p.msg.Text))+"]" && (p.has == hasPlural || p.has == hasText && p.msg.Plural != ""):
		if len(p.msg.Text) == maxForms {
			return fmt.Errorf("more than %d plural forms", maxForms)
		}
		p.form()
	default:
		return errOrder
	}
	if p.msg.Line == 0 {
		p.msg.Line = p.line
	}
	return nil
}

func (p *parser) form() {
	p.msg.Text = append(p.msg.Text, "")
	p.last, p.has = &p.msg.Text[len(p.msg.Text)-1], hasText
}

// comment reads what belongs to the next message.
func (p *parser) comment(line string) error {
	kind, rest := line[:min(2, len(line))], strings.TrimSpace(line[min(2, len(line)):])
	if kind == "#~" {
		return nil
	}
	if p.has != hasNothing {
		if err := p.finish(); err != nil {
			return err
		}
	}
	switch kind {
	case "#:":
		p.msg.Places = append(p.msg.Places, rest)
	case "#,":
		for _, flag := range strings.Split(rest, ",") {
			p.msg.Fuzzy = p.msg.Fuzzy || strings.TrimSpace(flag) == "fuzzy"
		}
	}
	return nil
}

// more appends a quoted text to the last one.
func (p *parser) more(quoted string) error {
	s, err := unquote(quoted)
	if err != nil {
		return err
	}
	*p.last += s
	return nil
}

// finish keeps the message that has been read.
func (p *parser) finish() error {
	switch {
	case p.has == hasNothing:
		return nil
	case p.has != hasText:
		return errors.New("the message before has no msgstr")
	}
	key := [2]string{p.msg.Context, p.msg.ID}
	if p.seen[key] {
		return fmt.Errorf("%q of line %d is there twice", p.msg.ID, p.msg.Line)
	}
	if p.seen == nil {
		p.seen = map[[2]string]bool{}
	}
	p.seen[key] = true
	p.all = append(p.all, p.msg)
	p.msg, p.has, p.last = Message{}, hasNothing, nil
	return nil
}

// escapes are the letters behind a backslash, and what they stand for.
var escapes = [][2]string{{`\`, `\`}, {`"`, `"`}, {"\n", `n`}, {"\t", `t`}}

// unquote returns the text within quotes.
func unquote(s string) (string, error) {
	s = strings.TrimSpace(s)
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return "", fmt.Errorf("no text within quotes: %q", s)
	}
	var b strings.Builder
	for s = s[1 : len(s)-1]; s != ""; s = s[1:] {
		switch s[0] {
		case '"':
			return "", errors.New("a quote within a text wants a backslash")
		case 0:
			return "", errors.New("a text has a byte of zero")
		case '\\':
			s = s[1:]
			c := escaped(s)
			if c == "" {
				return "", fmt.Errorf(`a backslash stands before one of \ " n t`)
			}
			b.WriteString(c)
		default:
			b.WriteByte(s[0])
		}
	}
	return b.String(), nil
}

// escaped returns what the letter that s begins with stands for, "" if nothing.
func escaped(s string) string {
	for _, e := range escapes {
		if strings.HasPrefix(s, e[1]) {
			return e[0]
		}
	}
	return ""
}

// quote returns s as a catalogue has it.
func quote(s string) string {
	for _, e := range escapes {
		s = strings.ReplaceAll(s, e[0], `\`+e[1])
	}
	return `"` + s + `"`
}

// Format writes a catalogue. What is Parsed and Formatted has the same messages.
// Texts with line feeds get a line each, as headers are written.
func Format(all []Message) []byte {
	var b strings.Builder
	for i, m := range all {
		if i > 0 {
			b.WriteByte('\n')
		}
		for _, place := range m.Places {
			b.WriteString("#: " + place + "\n")
		}
		if m.Fuzzy {
			b.WriteString("#, fuzzy\n")
		}
		if m.Context != "" {
			put(&b, "msgctxt", m.Context)
		}
		put(&b, "msgid", m.ID)
		if m.Plural == "" {
			put(&b, "msgstr", m.Text[0])
			continue
		}
		put(&b, "msgid_plural", m.Plural)
		for i, text := range m.Text {
			put(&b, "msgstr["+strconv.Itoa(i)+"]", text)
		}
	}
	return []byte(b.String())
}

func put(b *strings.Builder, keyword, text string) {
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" && len(lines) > 1 {
		lines = lines[:len(lines)-1]
	}
	if len(lines) > 1 {
		lines = append([]string{""}, lines...)
	}
	b.WriteString(keyword)
	blank := " "
	for _, line := range lines {
		b.WriteString(blank + quote(line) + "\n")
		blank = ""
	}
}
