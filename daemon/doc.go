// Package daemon puts b4d together: configuration in, rules, engine and pipeline
// up, all of it taken down again in reverse. It is the only package that knows
// all the others.
package daemon
