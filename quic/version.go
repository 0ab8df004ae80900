package quic

// A Version is a version of QUIC as it stands in long headers.
type Version uint32

const (
	V1      Version = 0x00000001 // RFC 9000
	V2      Version = 0x6b3343cf // RFC 9369
	Draft29 Version = 0xff00001d // draft-ietf-quic-transport-29, the last before RFC 9000 that was widely used
)

// negotiation stands where a version would in a Version Negotiation packet
// (RFC 8999 section 6).
const negotiation Version = 0

// A profile is how a version protects its Initial packets.
type profile struct {
	salt        string // of the initial secret
	key, iv, hp string // labels of what is derived from it
	first       byte   // the type bits of an Initial; the other types follow in cyclic order
}

// profile returns nil for versions whose Initial packets cannot be read.
func (v Version) profile() *profile {
	switch v {
	case V1:
		return &profileV1
	case V2:
		return &profileV2
	case Draft29:
		return &profileDraft29
	}
	return nil
}

var (
	// RFC 9001 section 5.2
	profileV1 = profile{
		salt: "\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a",
		key:  "quic key", iv: "quic iv", hp: "quic hp",
	}
	// RFC 9369 section 3
	profileV2 = profile{
		salt: "\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9",
		key:  "quicv2 key", iv: "quicv2 iv", hp: "quicv2 hp",
		first: 1,
	}
	// draft-ietf-quic-tls-29 section 5.2
	profileDraft29 = profile{
		salt: "\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99",
		key:  "quic key", iv: "quic iv", hp: "quic hp",
	}
)
