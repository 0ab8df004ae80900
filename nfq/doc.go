// Package nfq takes packets from an NFQUEUE and gives the verdicts on them, over
// a netlink socket of its own.
package nfq
