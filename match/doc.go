// Package match holds sets of host names and of networks. A set is immutable once
// built, and looking something up allocates nothing.
package match
