package http1

import "bytes"

// A Status tells how far a parse came.
type Status uint8

const (
	NotRequest Status = iota // these bytes do not begin a request
	Partial                  // so far a request, more bytes are needed
	Complete                 // the whole head is there
)

// MaxLen bounds a head b4 looks at, its empty line included. Servers take 8 to
// 32 KB; ten maximum-size segments fit.
const MaxLen = 16 << 10

// A Request tells where things stand in the head of an HTTP/1 request (RFC 9112
// sections 2 to 5). All positions are offsets into the parsed bytes; a range ends
// behind its last byte, and one whose end is 0 was not found, or not reached yet.
//
// Behind Len stands the body or the next request. Of a connection with several
// requests each is parsed by itself, as the first: in a segment that begins with
// it. One that begins in the middle of a segment, pipelined, is not looked for.
type Request struct {
	Len               int // bytes of the head, from the first byte on and with its empty line; 0 until known
	Method, MethodEnd int // behind empty lines, if there are any
	Target, TargetEnd int
	Field, FieldEnd   int // the name of the first Host field; RFC 9112 section 3.2 forbids more of them
	Host, HostEnd     int // the host it says, without port; an IPv6 address has its brackets
	Port, PortEnd     int // the port it says, digits
	URI, URIEnd       int // the host in the target, where that is an absolute URI or a CONNECT's authority
}

// Named reports whether a whole host has been seen, in the Host field or in the
// target.
func (r *Request) Named() bool { return r.HostEnd > 0 || r.URIEnd > 0 }

// Name is the range of the host: the Host field's, or the target's where there
// is no such field. A client that says both says the same (RFC 9112 section 3.2).
func (r *Request) Name() (start, end int) {
	if r.HostEnd > 0 {
		return r.Host, r.HostEnd
	}
	return r.URI, r.URIEnd
}

// AppendName appends the host in small letters, without port and without the
// dot it may end in, to dst. r's positions are offsets into b.
func (r *Request) AppendName(dst, b []byte) []byte {
	start, end := r.Name()
	if end > start && b[end-1] == '.' {
		end--
	}
	for _, c := range b[start:end] {
		dst = append(dst, lower(c))
	}
	return dst
}

// Parse finds the positions in b, which begins with a request or with empty
// lines ahead of one (RFC 9112 section 2.2). With Partial the positions reached
// so far are filled in, and stay right when more comes. Lines may end in LF
// alone, and values be folded, as servers take them. It allocates nothing and
// keeps nothing of b.
func Parse(b []byte) (Request, Status) {
	var r Request
	head := b[:min(len(b), MaxLen)]
	at, st := r.start(head)
	for st == Complete && r.Len == 0 {
		at, st = r.line(head, at)
	}
	if st == NotRequest || st == Partial && len(head) == MaxLen {
		return Request{}, NotRequest
	}
	return r, st
}

const (
	maxEmpty  = 8  // bytes of empty lines; a server need skip but one line
	maxMethod = 24 // the longest one registered has 17 letters, UPDATEREDIRECTREF
	version   = "HTTP/1."
	hostColon = "host:"
)

// start reads the request line (RFC 9112 section 3) and returns where the line
// behind it begins.
func (r *Request) start(b []byte) (int, Status) {
	at, st := skipEmpty(b)
	if st != Complete {
		return at, st
	}
	r.Method = at
	if at, st = span(b, at, isToken); st != Complete {
		if at-r.Method > maxMethod {
			return at, NotRequest
		}
		return at, st
	}
	if b[at] != ' ' || at == r.Method || at-r.Method > maxMethod {
		return at, NotRequest
	}
	r.MethodEnd = at
	if at, st = span(b, at, isSpace); st != Complete {
		return at, st
	}
	target := at
	if at, st = span(b, at, isTarget); st != Complete {
		return at, st
	}
	if b[at] != ' ' || at == target {
		return at, NotRequest
	}
	r.Target, r.TargetEnd = target, at
	r.authority(b)
	if at, st = span(b, at, isSpace); st != Complete {
		return at, st
	}
	return endOfStart(b, at)
}

// skipEmpty steps over empty lines.
func skipEmpty(b []byte) (int, Status) {
	for at, c := range b {
		switch {
		case at > maxEmpty || at > 0 && b[at-1] == '\r' && c != '\n':
			return at, NotRequest
		case c != '\r' && c != '\n':
			return at, Complete
		}
	}
	return len(b), Partial
}

// endOfStart reads the version and the end of its line. As much of it as is
// there must be right.
func endOfStart(b []byte, at int) (int, Status) {
	n := min(len(version), len(b)-at)
	if string(b[at:at+n]) != version[:n] {
		return at, NotRequest
	}
	if at += n; at == len(b) {
		return at, Partial
	}
	if b[at] < '0' || b[at] > '9' {
		return at, NotRequest
	}
	at, st := span(b, at+1, isSpace) // some send spaces behind it, and servers take them
	if st == Complete && b[at] == '\r' {
		at++
	}
	switch {
	case at >= len(b):
		return at, Partial
	case b[at] != '\n':
		return at, NotRequest
	}
	return at + 1, Complete
}

// line reads the field line at at, and returns where the one behind it begins.
// With the empty line the head is complete.
func (r *Request) line(b []byte, at int) (int, Status) {
	n := bytes.IndexByte(b[at:], '\n')
	if end := at + n + 1; n == 0 || n == 1 && b[at] == '\r' {
		r.Len = end
		return end, Complete
	}
	if r.FieldEnd == 0 && isHost(b[at:]) {
		r.Field, r.FieldEnd = at, at+len(hostColon)-1
		r.host(b, at+len(hostColon))
	}
	if n < 0 {
		return len(b), Partial
	}
	return at + n + 1, Complete
}

// host reads the value of the Host field, which begins at at (RFC 9110 section
// 7.2), as far as it is there.
func (r *Request) host(b []byte, at int) {
	start, ok := skipFolds(b, at)
	if !ok {
		return
	}
	end := hostEnd(b, start)
	if end == len(b) || end == start {
		return
	}
	r.Host, r.HostEnd = start, end
	if b[end] != ':' {
		return
	}
	if at, st := span(b, end+1, isDigit); st == Complete && at > end+1 {
		r.Port, r.PortEnd = end+1, at
	}
}

// skipFolds steps over white space, and over ends of lines that white space
// follows (RFC 9112 section 5.2). It reports whether something follows.
func skipFolds(b []byte, at int) (int, bool) {
	for ; at < len(b); at++ {
		switch {
		case b[at] == ' ' || b[at] == '\t' || b[at] == '\r':
		case b[at] != '\n':
			return at, true
		case at+1 == len(b) || b[at+1] != ' ' && b[at+1] != '\t':
			return at, false
		}
	}
	return at, false
}

// hostEnd is where a host that begins at at ends, len(b) if the end is not there.
func hostEnd(b []byte, at int) int {
	in := false // brackets
	for ; at < len(b); at++ {
		switch c := b[at]; {
		case c == '[':
			in = true
		case c == ']':
			in = false
		case c <= ' ' || c == ':' && !in:
			return at
		}
	}
	return at
}

// authority finds the host in a target that has one (RFC 9112 sections 3.2.2 and
// 3.2.3).
func (r *Request) authority(b []byte) {
	at, target := r.Target, b[r.Target:r.TargetEnd]
	if string(b[r.Method:r.MethodEnd]) != "CONNECT" {
		n, _ := span(target, 0, isToken)
		if !bytes.HasPrefix(target[n:], []byte("://")) {
			return
		}
		at += n + 3
	}
	end := at
	for end < r.TargetEnd && b[end] != '/' && b[end] != '?' && b[end] != '#' {
		if b[end] == '@' { // user information (RFC 3986 section 3.2.1)
			at = end + 1
		}
		end++
	}
	if end = hostEnd(b[:end], at); end > at {
		r.URI, r.URIEnd = at, end
	}
}

// span is the end of the bytes from at on that are in set. It is Partial where
// b ends in them.
func span(b []byte, at int, set func(byte) bool) (int, Status) {
	for at < len(b) && set(b[at]) {
		at++
	}
	if at == len(b) {
		return at, Partial
	}
	return at, Complete
}

func isHost(b []byte) bool {
	if len(b) < len(hostColon) {
		return false
	}
	for i := range len(hostColon) {
		if lower(b[i]) != hostColon[i] {
			return false
		}
	}
	return true
}

func isSpace(c byte) bool  { return c == ' ' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isTarget(c byte) bool { return c > ' ' && c != 0x7f }

// isToken reports whether c may stand in a token (RFC 9110 section 5.6.2).
func isToken(c byte) bool {
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	l := lower(c)
	return l >= 'a' && l <= 'z' || isDigit(c)
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
