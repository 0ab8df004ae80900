package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"b4/desync"
	"b4/engine"
	"b4/pipeline"
)

// PreviewRequest is the parameter of the method preview: a strategy.
type PreviewRequest struct {
	Proto string `json:"proto"` // tls, http or quic
	Text  string `json:"text"`
}

// A Preview shows a strategy at work on a sample. Files that it names are not read.
type Preview struct {
	Text    string          `json:"text"`  // canonical; as it was asked for where it is wrong
	Harm    string          `json:"harm"`  // what it puts on the wire: nothing, segments or decoys
	Wants   string          `json:"wants"` // what else b4 must be shown, in words; "" is nothing
	Error   *TextError      `json:"error"` // null where the text is a strategy
	Steps   []string        `json:"steps"` // canonical texts
	Host    string          `json:"host"`  // that the sample asks for
	Length  int             `json:"length"`
	Marks   []desync.Mark   `json:"marks"`
	Packets []PreviewPacket `json:"packets"` // in the order they leave, the first 256
	More    int             `json:"more"`    // packets behind those
}

// A TextError is what is wrong with a text, and where.
type TextError struct {
	Pos  int    `json:"pos"` // in bytes
	Text string `json:"text"`
}

// A PreviewPacket is one packet of a Preview. Those of the handshake come first.
type PreviewPacket struct {
	From  int    `json:"from"` // bytes of the message, or those that a decoy passes for; below 0 ahead of it
	To    int    `json:"to"`
	Decoy bool   `json:"decoy"` // the server does not read it
	TTL   int    `json:"ttl"`
	After int64  `json:"after"` // ms after the first packet of the message
	Text  string `json:"text"`  // what it is, in words
}

func handlePreview(_ context.Context, q PreviewRequest, _ func(any) error) (any, error) {
	protos := []string{desync.TLS.String(), desync.HTTP.String(), desync.QUIC.String()}
	i := slices.Index(protos, q.Proto)
	if i < 0 {
		return nil, fmt.Errorf("parameter proto is %q: want tls, http or quic", q.Proto)
	}
	return preview(desync.Proto(i), q.Text), nil
}

func preview(proto desync.Proto, text string) *Preview {
	e := proto.Sample()
	v := &Preview{
		Text: text, Harm: desync.Nothing.String(), Steps: []string{}, Packets: []PreviewPacket{},
		Host: desync.SampleHost, Length: len(e.Msg.Bytes), Marks: e.Msg.Marks(),
	}
	s, err := proto.ParseWith(text, anyFile)
	var wrong *desync.Error
	if errors.As(err, &wrong) {
		v.Error = &TextError{wrong.Pos, wrong.Msg}
		return v
	}
	v.Text, v.Harm, v.Wants = s.String(), s.Harm().String(), wants(s.Need())
	v.Steps = append(v.Steps, s.Steps()...)
	var out engine.Batch
	pieces, failed := s.Preview(e, &out)
	for i, piece := range pieces {
		if i == maxShown {
			v.More = len(pieces) - i
			break
		}
		o := out.At(i)
		p := PreviewPacket{piece.From, piece.To, piece.Decoy, int(o.Bytes[hopLimit]), o.After.Milliseconds(), pipeline.Describe(o, e.Conn.Base)}
		if failed != nil {
			p.Text += ": as it came, " + failed.Error()
		}
		v.Packets = append(v.Packets, p)
	}
	return v
}

// maxShown is more packets than anybody looks at; all there can be are more than a
// request through ubus carries.
const maxShown = 256

// hopLimit is where IPv6 has its TTL (RFC 8200 section 3).
const hopLimit = 7

// anyFile stands for any file that a strategy names: a page that shows a text as it
// is written has b4d open nothing.
func anyFile(string) ([]byte, error) { return make([]byte, 512), nil }
