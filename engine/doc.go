// Package engine is the vocabulary between what brings packets (NFQUEUE, TUN)
// and what judges them (package pipeline), and the loop that joins the two.
package engine
