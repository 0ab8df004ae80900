package lab

import (
	"errors"
	"testing"
)

// With all of it in user space plain HTTP and QUIC open too, and are intact.
func TestAllOfHTTPAndQUIC(t *testing.T) {
	engines(t, func(t *testing.T, engine string) {
		l := build(t, Options{Firewall: &Firewall{Masq4: true, Masq6: true}})
		text := configure(engine, steerAll) + "\nconfig strategy 'default'\n\toption http 'hostcase split(midsld) disorder'\n"
		censors := map[Proto]string{HTTP: "tr-2024"}
		if engine == "nfqueue" {
			text += "\toption quic 'split(midsld) disorder'\n"
			censors[QUIC] = "gfw-quic"
		}
		launchB4D(t, l, text)
		const size = 1 << 20
		askers(t, func(t *testing.T, r Request) {
			for proto, name := range censors {
				for _, r.Hello = range []Hello{Small, PostQuantum} {
					r.Proto = proto
					if err := l.CheckOpen(variant(t, name), r); err != nil {
						t.Errorf("%v, %v hello: %v", proto, r.Hello, err)
					}
				}
				if err := errors.Join(l.Download(r, size), send(l, r, size)); err != nil {
					t.Errorf("%v: %v", proto, err)
				}
			}
		})
	})
}
