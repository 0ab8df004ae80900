// Package uci reads /etc/config/b4: a reader for UCI files that follows
// libuci's, above it the table of every option b4 knows, and the checked
// configuration that the two give. Nothing here writes UCI.
package uci
