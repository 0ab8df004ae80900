package desync

import (
	"bytes"
	"errors"

	"b4/http1"
)

// The steps for HTTP write a request's head another way: in other letters, with
// white space in other places. The server reads the same request (RFC 9112), and
// the head keeps its length, as every later byte of the connection must keep its
// sequence number. Bytes that a step needs are taken from white space that means
// nothing, and bytes that it frees become such.

// A rewriting step is one of them. It needs nothing but the message.
type rewriting struct {
	text  string
	apply func(p *Plan, e *Env) error
}

func (*rewriting) Need() Need       { return Need{} }
func (*rewriting) Harm() Harm       { return Segments }
func (s *rewriting) String() string { return s.text }

func (s *rewriting) Apply(p *Plan, e *Env) error {
	if e.Msg.Body {
		return nil
	}
	return s.apply(p, e)
}

// rewriter makes a step without arguments.
func rewriter(text string, apply func(p *Plan, e *Env) error) func(*parser, *args) Step {
	return func(*parser, *args) Step { return &rewriting{text, apply} }
}

var (
	errHead  = errors.New("the head of the request is not complete")
	errBegun = errors.New("some of the request has left as it came, and its bytes must stay where they are")
	errSpace = errors.New("no white space in the header fields from which to take the bytes")
	errField = errors.New("no header field to put the freed bytes into")
)

// rewrite returns the message's bytes for steps to change. They are the plan's,
// and the steps behind read them in e too.
func (p *Plan) rewrite(e *Env) []byte {
	if p.text == nil {
		start := len(p.arena)
		p.arena = append(p.arena, e.Msg.Bytes...)
		p.text = p.made(start)
		e.Msg.Bytes = p.text
	}
	return p.text
}

// movable says why no bytes of the head may move, nil if they may. A head that is
// not complete may be sent again when it is, and would then read otherwise.
func (e *Env) movable() error {
	switch {
	case e.Msg.Request.Len == 0:
		return errHead
	case e.Msg.Begun:
		return errBegun
	}
	return nil
}

// reread finds the positions in a head that has been changed.
func (e *Env) reread() { e.Msg.Request, _ = http1.Parse(e.Msg.Bytes) }

// nextField returns where the next colon behind a header field's name stands in
// b, the bytes of a head, from the line at at on, and where the line behind it
// begins. Its colon is 0 where there is none.
func nextField(b []byte, at int) (colon, next int) {
	for at < len(b) {
		line := b[at:]
		if n := bytes.IndexByte(line, '\n'); n >= 0 {
			line = line[:n+1]
		}
		n := bytes.IndexByte(line, ':')
		if n > 0 && line[0] != ' ' && line[0] != '\t' {
			return at + n, at + len(line)
		}
		at += len(line)
	}
	return 0, at
}

// firstField is nextField for the first field.
func firstField(b []byte, r *http1.Request) (colon, next int) {
	return nextField(b, r.TargetEnd+bytes.IndexByte(b[r.TargetEnd:], '\n')+1)
}

// spare finds a byte of white space ahead of a field's value, at best not of the
// Host field's. It returns 0 where there is none.
func spare(b []byte, r *http1.Request) (at int) {
	b = b[:r.Len]
	for colon, next := firstField(b, r); colon > 0; colon, next = nextField(b, next) {
		if c := b[colon+1]; c != ' ' && c != '\t' {
			continue
		}
		at = colon + 1
		if colon != r.FieldEnd {
			break
		}
	}
	return at
}

// room is where white space may be put in: ahead of the value of the first field
// that is not Host, or else behind the value of Host. Servers that read no more
// than they must look at Host most closely. It returns 0 where there is no field.
func room(b []byte, r *http1.Request) int {
	b = b[:r.Len]
	for colon, next := firstField(b, r); colon > 0; colon, next = nextField(b, next) {
		if colon != r.FieldEnd {
			return colon + 1
		}
	}
	switch {
	case r.FieldEnd == 0:
		return 0
	case r.HostEnd == 0:
		return r.FieldEnd + 1
	}
	end := r.HostEnd + bytes.IndexByte(b[r.HostEnd:], '\n')
	if b[end-1] == '\r' {
		end--
	}
	return end
}

// move takes n bytes at from out of b and returns as many put in at to, which is
// not among them.
func move(b []byte, from, to, n int) []byte {
	if to <= from {
		copy(b[to+n:from+n], b[to:from])
		return b[to : to+n]
	}
	copy(b[from:to-n], b[from+n:to])
	return b[to-n : to]
}

// insert puts c in at to, in place of a byte of white space elsewhere.
func (p *Plan) insert(e *Env, to int, c byte) error {
	from := spare(e.Msg.Bytes, &e.Msg.Request)
	if from == 0 {
		return errSpace
	}
	move(p.rewrite(e), from, to, 1)[0] = c
	e.reread()
	return nil
}

func fillSpaces(b []byte) {
	for i := range b {
		b[i] = ' '
	}
}
