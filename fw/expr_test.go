package fw

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// TestExpressions compares what the kernel is told with what a library tells it that
// knows all expressions.
func TestExpressions(t *testing.T) {
	nfqueue := xt.Unknown(append(append(host16(7), host16(1)...), append(host16(1), 0, 0)...))
	urgent := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 18, Len: 2}
	tcp := []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, equal(6)}
	tests := []struct {
		name string
		code func(*coder)
		want []expr.Any
	}{
		{"meta", setBits{metaMark, 6}.code, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, bitwise(^uint32(6), 6), &expr.Meta{Key: expr.MetaKeyMARK, Register: 1, SourceRegister: true}}},
		{"ct", clearBits{ctMark, 6}.code, []expr.Any{
			&expr.Ct{Key: expr.CtKeyMARK, Register: 1}, bitwise(^uint32(6), 0), &expr.Ct{Key: expr.CtKeyMARK, Register: 1, SourceRegister: true}}},
		{"ct state", invalid{}.code, []expr.Any{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, bitwise(expr.CtStateBitINVALID, 0), unequal(0, 0, 0, 0)}},
		{"ct packets", packets{upto: 5}.code, []expr.Any{
			&expr.Ct{Key: expr.CtKeyPKTS, Register: 1},
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 8, Size: 8},
			&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{0, 0, 0, 0, 0, 0, 0, 1}},
			&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: []byte{0, 0, 0, 0, 0, 0, 0, 5}}}},
		{"payload", urgentSet{}.code, append(tcp[:2:2], urgent, unequal(0, 0))},
		{"payload with its checksum", changeUrgent{0xff, 3}.code, append(tcp[:2:2], urgent,
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 2, Mask: []byte{0xff, 0xfc}, Xor: []byte{0, 3}},
			&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 18, Len: 2, CsumType: expr.CsumTypeInet, CsumOffset: 16})},
		{"payload without", setProtocol{4, 253}.code, []expr.Any{
			&expr.Immediate{Register: 1, Data: []byte{253}},
			&expr.Payload{OperationType: expr.PayloadWrite, SourceRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 9, Len: 1}}},
		{"payload of Ethernet", sourceMAC("macs").code, []expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFTYPE, Register: 1}, equal(host16(unix.ARPHRD_ETHER)...),
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6}, inSet("macs", false)}},
		{"lookup", alive("wan0").code, []expr.Any{&expr.Immediate{Register: 1, Data: deviceKey("wan0")}, inSet(wanSet, false)}},
		{"lookup of what is not there, dynset", note{}.code, []expr.Any{
			&expr.Immediate{Register: 1, Data: deviceKey("b4d")}, inSet(askedSet, true),
			&expr.Dynset{SrcRegKey: 1, SetName: freshSet, Operation: unix.NFT_DYNSET_OP_UPDATE},
			&expr.Dynset{SrcRegKey: 1, SetName: askedSet, Operation: unix.NFT_DYNSET_OP_ADD}}},
		{"lookups", unanswered{}.code, []expr.Any{
			&expr.Immediate{Register: 1, Data: deviceKey("b4d")}, inSet(askedSet, false), inSet(freshSet, true)}},
		{"rt", ipsec{}.code, []expr.Any{&expr.Rt{Key: 4, Register: 1}, equal(1)}},
		{"notrack", notrack{}.code, []expr.Any{&expr.Notrack{}}},
		{"objref", counter{"seen"}.code, []expr.Any{&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: "seen"}}},
		{"queue", queue{7, 1, Native}.code, []expr.Any{&expr.Queue{Num: 7, Total: 1, Flag: expr.QueueFlagBypass}}},
		{"target", queue{7, 1, Xt}.code, []expr.Any{&expr.Target{Name: "NFQUEUE", Rev: 3, Info: &nfqueue}}},
		{"nat", snat(netip.MustParseAddr("192.0.2.1")).code, []expr.Any{
			&expr.Immediate{Register: 1, Data: []byte{192, 0, 2, 1}}, &expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1}}},
		{"reject", unreachable{}.code, []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH}}},
		{"accept", accept.code, []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}},
		{"goto", gotoChain("there").code, []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: "there"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, want := coder{attributes()}, coder{attributes()}
			tt.code(&got)
			want.put(tt.want...)
			g, err := got.list.Encode()
			if err != nil {
				t.Fatal(err)
			}
			w, err := want.list.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(g, w) {
				t.Errorf("the kernel is told\n%x, want\n%x", g, w)
			}
		})
	}
}

func host16(n uint16) []byte { return binary.NativeEndian.AppendUint16(nil, n) }
