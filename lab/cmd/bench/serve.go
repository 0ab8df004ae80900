package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"time"

	"b4/lab"
)

// serveVerb makes the program the server. It says a line when it listens, and
// ends with its standard input.
const serveVerb = "serve"

// Where it serves what.
var (
	bareAddr = lab.Modern.Addr(false).String() // exchanges
	tlsAddr  = lab.Old.Addr(false).String()    // exchanges within real TLS
)

func serve() error {
	cert, err := certificate()
	if err != nil {
		return err
	}
	bare, err := net.Listen("tcp", bareAddr)
	if err != nil {
		return err
	}
	inTLS, err := tls.Listen("tcp", tlsAddr, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	if err != nil {
		return err
	}
	go accept(bare, answer)
	go accept(inTLS, func(c net.Conn) error { return writeBody(c, answerSize) })
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// accept serves connections until the process ends. What fails here fails at
// the client too, which tells.
func accept(ln net.Listener, serve func(net.Conn) error) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			serve(c)
		}()
	}
}

// certificate makes one for TLS to have; it names nobody.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "bench"},
		NotBefore:    time.Unix(0, 0),
		NotAfter:     time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
