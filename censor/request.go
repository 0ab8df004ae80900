package censor

import (
	"bytes"
	"slices"
)

// methods are the words a request begins with, to a censor.
var methods = []string{"GET ", "POST ", "HEAD ", "PUT ", "DELETE ", "OPTIONS ", "CONNECT ", "PATCH "}

// method reports whether b begins with a method, and returns what is behind it.
func method(b []byte) (rest []byte, ok bool) {
	for _, m := range methods {
		if rest, ok = bytes.CutPrefix(b, []byte(m)); ok {
			return rest, true
		}
	}
	return nil, false
}

// maxMethod is the longest method that is looked for.
const maxMethod = 16

// beginsMethod reports whether b may become a method with what follows it.
func beginsMethod(b []byte) bool {
	return len(b) > 0 && slices.ContainsFunc(methods, func(m string) bool { return bytes.HasPrefix([]byte(m), b) })
}

// host reads the host of the request that b begins with, without its port. It
// borrows from b.
func (r Reading) host(b []byte) (host []byte, st status) {
	switch r {
	case Strict:
		return strictHost(b)
	case Loose:
		return looseHost(b)
	}
	return nil, alien
}

// strictHost finds the line as browsers write it.
func strictHost(b []byte) ([]byte, status) {
	if _, ok := method(b); !ok {
		if beginsMethod(b) {
			return nil, partial
		}
		return nil, alien
	}
	_, after, ok := bytes.Cut(b, []byte("\r\nHost: "))
	if !ok {
		return nil, unfinished(b, "\r\n\r\n")
	}
	name, _, ok := bytes.Cut(after, []byte("\r\n"))
	if !ok {
		return nil, partial
	}
	return withoutPort(name), whole
}

// looseHost reads what a lenient server would, line by line.
func looseHost(b []byte) ([]byte, status) {
	b = bytes.TrimLeft(b, "\r\n")
	word, _, _ := bytes.Cut(b, []byte(" "))
	if len(word) == 0 || len(word) > maxMethod || bytes.ContainsFunc(word, notLetter) {
		return nil, alien
	}
	first := true
	for line, rest, ok := bytes.Cut(b, []byte("\n")); ok; line, rest, ok = bytes.Cut(rest, []byte("\n")) {
		if first {
			if _, target, is := bytes.Cut(line, []byte("://")); is {
				if at := bytes.IndexAny(target, "/ "); at >= 0 {
					return withoutPort(target[:at]), whole
				}
			}
			first = false
			continue
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			return nil, whole
		}
		key, val, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(bytes.TrimSpace(key), []byte("host")) {
			return withoutPort(bytes.TrimSpace(val)), whole
		}
	}
	return nil, partial
}

func notLetter(r rune) bool { return r < 'A' || r > 'Z' && r < 'a' || r > 'z' }

// unfinished is the status of a request without a host, which ends with end.
func unfinished(b []byte, end string) status {
	if bytes.Contains(b, []byte(end)) {
		return whole
	}
	return partial
}

// withoutPort cuts the port off a host.
func withoutPort(name []byte) []byte {
	name, _, _ = bytes.Cut(name, []byte(":"))
	return name
}
