package main

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ADB is the container of apk 3, for packages and for indexes (apk-v3(5) and
// src/adb.h of apk-tools): a header of 4 bytes, then values, little-endian.
// A value is a word: its upper 4 bits are a type, the rest a small number or
// the offset of what it stands for. Objects and arrays are rows of words, the
// first of which counts all of them; an array differs in nothing but the type.

// An adbVal is a value's word. Zero is null, which ends no row.
type adbVal uint32

const (
	adbInt    adbVal = 0x1 << 28
	adbInt32  adbVal = 0x2 << 28
	adbInt64  adbVal = 0x3 << 28
	adbBlob8  adbVal = 0x8 << 28
	adbBlob16 adbVal = 0x9 << 28
	adbBlob32 adbVal = 0xa << 28
	adbArray  adbVal = 0xd << 28
	adbObject adbVal = 0xe << 28
	adbType   adbVal = 0xf << 28

	adbHeaderLen = 8 // two versions, both zero, two unused bytes, the root
)

// Schemas name what a file is.
const (
	adbPackage = "pckg"
	adbIndex   = "indx"
)

// Blocks carry the values, and the contents of files.
const (
	adbBlockADB  = 0
	adbBlockData = 2
	adbAlign     = 8
)

// An adbWriter builds the values of one ADB. Equal data is written once.
type adbWriter struct {
	buf  []byte
	seen map[string]uint32 // what is written where; the key begins with the alignment
}

func newADB() *adbWriter {
	return &adbWriter{buf: make([]byte, adbHeaderLen), seen: map[string]uint32{}}
}

// finish sets the root and returns the block's payload.
func (w *adbWriter) finish(root adbVal) []byte {
	binary.LittleEndian.PutUint32(w.buf[4:], uint32(root))
	return w.buf
}

// put writes data at a multiple of align, or finds it there.
func (w *adbWriter) put(data []byte, align int) adbVal {
	key := string(rune(align)) + string(data)
	if at, ok := w.seen[key]; ok {
		return adbVal(at)
	}
	at := w.append(data, align)
	w.seen[key] = uint32(at)
	return at
}

// append writes data at a multiple of align.
func (w *adbWriter) append(data []byte, align int) adbVal {
	for len(w.buf)%align != 0 {
		w.buf = append(w.buf, 0)
	}
	at := len(w.buf)
	w.buf = append(w.buf, data...)
	return adbVal(at)
}

// number returns n as a value.
func (w *adbWriter) number(n uint64) adbVal {
	switch {
	case n < 1<<28:
		return adbInt | adbVal(n)
	case n < 1<<32:
		return adbInt32 | w.put(binary.LittleEndian.AppendUint32(nil, uint32(n)), 4)
	}
	return adbInt64 | w.put(binary.LittleEndian.AppendUint64(nil, n), 4)
}

// blob returns data as a value, null if it is empty.
func (w *adbWriter) blob(data []byte) adbVal {
	switch n := len(data); {
	case n == 0:
		return 0
	case n < 1<<8:
		return adbBlob8 | w.put(append([]byte{byte(n)}, data...), 1)
	case n < 1<<16:
		return adbBlob16 | w.put(append(binary.LittleEndian.AppendUint16(nil, uint16(n)), data...), 2)
	default:
		return adbBlob32 | w.put(append(binary.LittleEndian.AppendUint32(nil, uint32(n)), data...), 4)
	}
}

func (w *adbWriter) str(s string) adbVal { return w.blob([]byte(s)) }

// hole returns a blob of n zeros, n < 256, and where they are: nothing else
// shares them, so that they can be filled in later.
func (w *adbWriter) hole(n int) (v adbVal, at int) {
	v = w.append(make([]byte, 1+n), 1)
	w.buf[v] = byte(n)
	return adbBlob8 | v, int(v) + 1
}

// object returns fields, which are counted from 1, null if all are.
func (w *adbWriter) object(fields ...adbVal) adbVal { return w.row(adbObject, fields) }

// array returns items, null if there is none.
func (w *adbWriter) array(items ...adbVal) adbVal { return w.row(adbArray, items) }

func (w *adbWriter) row(kind adbVal, vals []adbVal) adbVal {
	for len(vals) > 0 && vals[len(vals)-1] == 0 {
		vals = vals[:len(vals)-1]
	}
	if len(vals) == 0 {
		return 0
	}
	row := binary.LittleEndian.AppendUint32(nil, uint32(len(vals)+1))
	for _, v := range vals {
		row = binary.LittleEndian.AppendUint32(row, uint32(v))
	}
	return kind | w.put(row, 4)
}

// appendBlock appends a block to a file, padded as blocks are.
func appendBlock(b []byte, kind uint32, payload ...[]byte) []byte {
	size := 4
	for _, p := range payload {
		size += len(p)
	}
	b = binary.LittleEndian.AppendUint32(b, kind<<30|uint32(size))
	for _, p := range payload {
		b = append(b, p...)
	}
	return append(b, make([]byte, -size&(adbAlign-1))...)
}

// An adbReader is the payload of an ADB block.
type adbReader []byte

var errADB = errors.New("adb: a value lies outside of its block or is of another type")

// cut returns n bytes at v's offset plus skip.
func (r adbReader) cut(v adbVal, skip, n int) ([]byte, error) {
	at := int(v&^adbType) + skip
	if n < 0 || at > len(r) || n > len(r)-at {
		return nil, errADB
	}
	return r[at : at+n], nil
}

func (r adbReader) root() (adbVal, error) {
	if len(r) < adbHeaderLen || r[0] != 0 {
		return 0, errADB
	}
	return adbVal(binary.LittleEndian.Uint32(r[4:])), nil
}

// number reads an integer; null is 0.
func (r adbReader) number(v adbVal) (uint64, error) {
	switch v & adbType {
	case adbInt:
		return uint64(v &^ adbType), nil
	case adbInt32:
		b, err := r.cut(v, 0, 4)
		if err != nil {
			return 0, err
		}
		return uint64(binary.LittleEndian.Uint32(b)), nil
	case adbInt64:
		b, err := r.cut(v, 0, 8)
		if err != nil {
			return 0, err
		}
		return binary.LittleEndian.Uint64(b), nil
	}
	if v == 0 {
		return 0, nil
	}
	return 0, errADB
}

// blob reads bytes, valid as long as r; null is none.
func (r adbReader) blob(v adbVal) ([]byte, error) {
	var width int
	switch v & adbType {
	case adbBlob8:
		width = 1
	case adbBlob16:
		width = 2
	case adbBlob32:
		width = 4
	default:
		if v == 0 {
			return nil, nil
		}
		return nil, errADB
	}
	head, err := r.cut(v, 0, width)
	if err != nil {
		return nil, err
	}
	var n uint32
	for i, c := range head {
		n |= uint32(c) << (8 * i)
	}
	return r.cut(v, width, int(n))
}

// row reads the values of an object or array, the first at 0; null has none.
func (r adbReader) row(v adbVal) ([]adbVal, error) {
	if v == 0 {
		return nil, nil
	}
	if kind := v & adbType; kind != adbObject && kind != adbArray {
		return nil, errADB
	}
	head, err := r.cut(v, 0, 4)
	if err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(head))
	if n < 1 || n > len(r)/4 {
		return nil, errADB
	}
	b, err := r.cut(v, 4, 4*(n-1))
	if err != nil {
		return nil, err
	}
	vals := make([]adbVal, n-1)
	for i := range vals {
		vals[i] = adbVal(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return vals, nil
}

// An adbBlock is one block of a file.
type adbBlock struct {
	kind    uint32
	payload []byte
}

// parseADB cuts a file into its blocks, after the check of its schema.
func parseADB(b []byte, schema string) ([]adbBlock, error) {
	if len(b) < 8 || string(b[:8]) != "ADB."+schema {
		return nil, fmt.Errorf("adb: no file of schema %s", schema)
	}
	var blocks []adbBlock
	for b = b[8:]; len(b) > 0; {
		if len(b) < 4 {
			return nil, errors.New("adb: a block is cut short")
		}
		word := binary.LittleEndian.Uint32(b)
		size := int(word & (1<<30 - 1))
		padded := (size + adbAlign - 1) &^ (adbAlign - 1)
		if size < 4 || padded > len(b) {
			return nil, errors.New("adb: a block is cut short")
		}
		blocks = append(blocks, adbBlock{word >> 30, b[4:size]})
		b = b[padded:]
	}
	if len(blocks) == 0 || blocks[0].kind != adbBlockADB {
		return nil, errors.New("adb: no block of values")
	}
	return blocks, nil
}
