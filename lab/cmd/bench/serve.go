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
)

// serveVerb makes the program the server. It says a line when it listens, and
// ends with its standard input.
const serveVerb = "serve"

// Where it serves what. Each kind of load has an address, so that no connection
// comes from where one has been of late.
const (
	bareAddr = "203.0.113.21:443" // exchanges
	tlsAddr  = "203.0.113.22:443" // exchanges within real TLS
	bulkAddr = "203.0.113.23:443" // long exchanges
	quicAddr = "203.0.113.24:443" // UDP, sent back as it came
)

// addresses are the server's, as its device gets them.
func addresses() (prefixes []string) {
	for _, a := range []string{bareAddr, tlsAddr, bulkAddr, quicAddr} {
		host, _, _ := net.SplitHostPort(a)
		prefixes = append(prefixes, host+"/24")
	}
	return prefixes
}

func serve() error {
	cert, err := certificate()
	if err != nil {
		return err
	}
	for _, addr := range []string{bareAddr, bulkAddr} {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		go accept(ln, answer)
	}
	ln, err := tls.Listen("tcp", tlsAddr, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	if err != nil {
		return err
	}
	go accept(ln, func(c net.Conn) error { return writeBody(c, answerSize) })
	datagrams, err := net.ListenPacket("udp", quicAddr)
	if err != nil {
		return err
	}
	go echo(datagrams.(*net.UDPConn))
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
