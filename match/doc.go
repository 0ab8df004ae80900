// Package match holds sets of host names. A set is immutable once built, and
// looking a name up allocates nothing.
package match
