package main

import (
	"bufio"
	"errors"
	"math/rand/v2"
	"os"
)

// Of what the names of a list are made. Their length is that of the names in the
// lists which people share: 15 bytes on average.
const (
	nameLetters           = "aeiourstlnmkdbpg0-"
	nameShortest, nameAll = 7, 16 // lengths without the ending
)

var nameEndings = []string{".com", ".net", ".org", ".ru", ".info", ".com.br"}

// writeNames writes n names, which are the same in each run, to a file that b4d may
// read.
func writeNames(path string, n int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	w, rnd := bufio.NewWriter(f), rand.New(rand.NewPCG(7, uint64(n)))
	var name []byte
	seen := make(map[string]bool, n)
	for len(seen) < n {
		name = appendName(name[:0], rnd)
		if !seen[string(name)] {
			seen[string(name)] = true
			w.Write(append(name, '\n')) // an error stays until Flush
		}
	}
	return errors.Join(w.Flush(), f.Close())
}

// appendName appends a name of a site.
func appendName(b []byte, rnd *rand.Rand) []byte {
	for i, length := 0, nameShortest+rnd.IntN(nameAll-nameShortest); i < length; i++ {
		letters := len(nameLetters)
		if i == 0 || i == length-1 {
			letters-- // no hyphen at either end
		}
		b = append(b, nameLetters[rnd.IntN(letters)])
	}
	return append(b, nameEndings[rnd.IntN(len(nameEndings))]...)
}
