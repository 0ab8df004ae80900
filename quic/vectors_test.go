package quic

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vector returns the client's Initial of appendix A.2 of RFC 9001 ("v1") or of
// RFC 9369 ("v2").
func vector(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".hex")
	if err != nil {
		t.Fatal(err)
	}
	return unhex(t, string(b))
}

const (
	vectorDCID = "8394c8f03e515708"
	// vectorHello is what both packets carry, 241 bytes that name example.com.
	vectorHello = `010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c
		00000413011302010000c000000010000e00000b6578616d706c652e636f6dff01000100000a0008
		0006001d0017001800100007000504616c706e000500050100000000003300260024001d00209370
		b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d00
		10000e0403050306030203080408050806002d00020101001c00024001003900320408ffffffffff
		ffffff05048000ffff07048000ffff0801100104800075300901100f088394c8f03e515708060480
		00ffff`
	// vectorServer is the server's Initial of RFC 9001 appendix A.3.
	vectorServer = `cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100
		f37a1c69797554780bb38cc5a99f5ede4cf73c3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7d
		deb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f58891850abbd
		ca3d20398c276456cbc42158407dd074ee`
	// RFC 9001 and RFC 9369, appendix A.4.
	vectorRetryV1 = `ff000000010008f067a5502a4262b5746f6b656e04a265ba2eff4d829058fb3f0f2496ba`
	vectorRetryV2 = `cf6b3343cf0008f067a5502a4262b5746f6b656ec8646ce8bfe33952d955543665dcc7b6`
)

// The secrets are those of appendix A.1; draft 29 has keys alone.
func TestKeyVectors(t *testing.T) {
	tests := []struct {
		version             Version
		secret, key, iv, hp string
	}{
		{V1, "c00cf151ca5be075ed0ebfb5c80323c42d6b7db67881289af4008f1f6c357aea",
			"1f369613dd76d5467730efcbe3b1a22d", "fa044b2f42a3fd3b46fb255c", "9f50449e04a0e810283a1e9933adedd2"},
		{V2, "14ec9d6eb9fd7af83bf5a668bc17a7e283766aade7ecd0891f70f9ff7f4bf47b",
			"8b1a0bc121284290a29e0971b5cd045d", "91f73e2351d8fa91660e909f", "45b95e15235d6f45a6b19cbcb0294ba9"},
		{Draft29, "", "175257a31eb09dea9366d8bb79ad80ba", "6b26114b9cba2b63a9e8dd4f", "9ddd12c994c0698b89374a9c077a3077"},
	}
	for _, tt := range tests {
		p := tt.version.profile()
		initial := hmac([]byte(p.salt), unhex(t, vectorDCID))
		client := expandLabel(&initial, "client in", 32)
		if tt.secret != "" && hex.EncodeToString(client[:]) != tt.secret {
			t.Errorf("%x: secret %x", tt.version, client)
		}
		for label, want := range map[string]string{p.key: tt.key, p.iv: tt.iv, p.hp: tt.hp} {
			n := len(want) / 2
			if got := expandLabel(&client, label, byte(n)); hex.EncodeToString(got[:n]) != want {
				t.Errorf("%x: %s is %x, want %s", tt.version, label, got[:n], want)
			}
		}
	}
}

func TestSealVectors(t *testing.T) {
	for version, name := range map[Version]string{V1: "v1", V2: "v2"} {
		var s Sealer
		got, err := s.Append([]byte("x"), &Packet{
			Version: version, DCID: unhex(t, vectorDCID), Number: 2, Crypto: unhex(t, vectorHello),
		}, MinDatagram)
		if want := vector(t, name); err != nil || !bytes.Equal(got[1:], want) {
			t.Errorf("%s: %v\n%x, want\n%x", name, err, got[1:], want)
		}
	}
}

func TestOpenVectors(t *testing.T) {
	for _, name := range []string{"v1", "v2"} {
		var d Decoder
		var c Conn
		kind, err := d.Datagram(&c, vector(t, name))
		if kind != Initial || err != nil || c.largest != 2 {
			t.Fatalf("%s: %v, %v, packet number %d", name, kind, err, c.largest)
		}
		if want := unhex(t, vectorHello); !bytes.Equal(c.Message(), want) {
			t.Errorf("%s: message %x", name, c.Message())
		}
		h, _ := c.Hello()
		if got := c.AppendName(nil, &h); string(got) != "example.com" {
			t.Errorf("%s: name %q", name, got)
		}
	}
}

// A server's Initial is not opened with the keys of the client it answers.
func TestServerStaysSealed(t *testing.T) {
	var d Decoder
	var c Conn
	if _, err := d.Datagram(&c, vector(t, "v1")); err != nil {
		t.Fatal(err)
	}
	if kind, err := d.Datagram(&c, unhex(t, vectorServer)); kind != Initial || err != ErrSealed {
		t.Errorf("%v, %v", kind, err)
	}
}

// The tag of a Retry is AES-128-GCM over nothing, with a key that all know: a
// vector for the cipher alone.
func TestRetryVectors(t *testing.T) {
	tests := []struct{ name, key, nonce, retry string }{
		{"v1", "be0c690b9f66575a1d766b54e368c84e", "461599d35d632bf2239825bb", vectorRetryV1},
		{"v2", "8fb4b01b56ac48e260fbcbcead7ccc92", "d86969bc2d7c6d9990efb04a", vectorRetryV2},
	}
	for _, tt := range tests {
		retry := unhex(t, tt.retry)
		head := append(append([]byte{8}, unhex(t, vectorDCID)...), retry[:len(retry)-tagLen]...)
		for name, s := range suites() {
			s.set(unhex(t, tt.key), make([]byte, 16))
			tag := make([]byte, tagLen)
			if s.seal(tag, unhex(t, tt.nonce), head); !bytes.Equal(tag, retry[len(retry)-tagLen:]) {
				t.Errorf("%s, %s: tag %x", tt.name, name, tag)
			}
		}
	}
}
