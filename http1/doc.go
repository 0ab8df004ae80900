// Package http1 finds the positions that matter in the head of an HTTP/1
// request.
package http1
