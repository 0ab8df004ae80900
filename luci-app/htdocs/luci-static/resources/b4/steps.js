'use strict';
'require baseclass';

/*
 * What the page says of the words of strategies. A word that is missing here, as
 * b4d is newer, is told of by b4d's own help.
 */

const PHASES = {
	syn: _('Handshake'),
	message: _('Message'),
	packet: _('Packets')
};

const STEPS = {
	syndata: _('Puts a decoy into the first packet of the handshake. Servers ignore it unless they use TCP Fast Open.'),
	synfake: _('Sends a decoy of the handshake ahead of the real one.'),
	wsize: _('Makes the window that the server announces smaller, so that the device sends small pieces at first.'),
	split: _('Cuts the message into pieces, each in a packet of its own.'),
	'split quic': _('Cuts the message into pieces, which stay in one packet.'),
	disorder: _('Sends the pieces last first.'),
	'disorder quic': _('Puts the pieces into the packet last first.'),
	seqovl: _('Begins the first piece too early, with bytes that the server throws away.'),
	fake: _('Sends a decoy that the server does not read.'),
	rst: _('Sends a decoy that closes the connection, but only for those in between.'),
	hostcase: _('Writes the name of the Host field as hoSt.'),
	hostspell: _('Writes the name of the Host field in other letters.'),
	domcase: _('Writes the name of the site in small and large letters in turn.'),
	hostdot: _('Ends the name of the site in a dot. nginx and Apache take it, servers written in Go may not.'),
	hostnospace: _('Leaves no space behind the colon of the Host field.'),
	methodeol: _('Puts an empty line ahead of the request. nginx and Apache skip it, servers written in Go refuse it.'),
	unixeol: _('Ends lines in LF alone. nginx and servers written in Go take it, Apache and IIS refuse it.'),
	pad: _('Makes the packet longer, with padding ahead of the message.'),
	udplen: _('Puts bytes behind the message, which the server throws away.'),
	ipid: _('Sets the IPv4 identification of every packet.'),
	ipfrag: _('Sends every packet as two IP fragments. Some networks let none pass.'),
	dup: _('Sends every packet more than once.'),
	delay: _('Lets each packet leave later than the one ahead of it, at most 1 second in all.')
};

const PARAMS = {
	payload: _('Content'),
	sni: _('Name it says'),
	file: _('Content from a file'),
	kind: _('Kind'),
	ttl: _('TTL'),
	fooling: _('What else keeps the server from reading it'),
	repeat: _('How often'),
	place: _('Place'),
	pos: _('Where to cut'),
	n: _('Bytes'),
	pattern: _('Filled with'),
	name: _('Spelling'),
	mode: _('Value'),
	ms: _('Milliseconds between two packets'),
	'ipfrag n': _('Bytes in the first fragment'),
	'pad n': _('Bytes of the whole packet'),
	'dup n': _('Further copies')
};

const HINTS = {
	ttl: _('The router at which it ends, counted from here, or auto: the last one ahead of the server. auto-1 is one router earlier.'),
	pos: _('A number of bytes, from the end if negative, or a place such as midsld or host+2.')
};

const WORDS = {
	hello: _('a TLS hello'),
	clone: _('the message with another name'),
	http: _('a plain request'),
	quic: _('a QUIC hello'),
	zero: _('zeroes'),
	random: _('random bytes'),
	synack: _('as if from the server'),
	before: _('ahead of all pieces'),
	after: _('behind all pieces'),
	each: _('ahead of each piece'),
	around: _('on both sides of each piece'),
	badsum: _('wrong checksum'),
	md5: _('TCP MD5 signature'),
	badseq: _('old sequence number'),
	badack: _('wrong acknowledgement'),
	ts: _('old timestamp'),
	noack: _('no ACK flag'),
	hopbyhop: _('IPv6 hop-by-hop option'),
	destopt: _('IPv6 destination option'),
	seq: _('counted on'),
	rnd: _('random')
};

const MARKERS = {
	method: _('the method of the request'),
	exts: _('the first extension'),
	sniext: _('the extension with the name'),
	host: _('the first letter of the name'),
	sld: _('the first letter of the second-level domain'),
	midsld: _('the middle of the second-level domain'),
	endsld: _('behind the second-level domain'),
	endhost: _('behind the name'),
	alpn: _('the list of protocols'),
	ech: _('the extension with the encrypted hello')
};

function either(table, keys, other) {
	const key = keys.find(function(k) { return typeof table[k] == 'string' });

	return key ? table[key] : other;
}

return baseclass.extend({
	phase: function(name) { return either(PHASES, [ name ], name) },
	step: function(spec, proto) { return either(STEPS, [ spec.name + ' ' + proto, spec.name ], spec.help) },
	param: function(spec, param) { return either(PARAMS, [ spec.name + ' ' + param.name, param.name ], param.help) },
	hint: function(param) { return either(HINTS, [ param.name ], '') },
	word: function(word) { return either(WORDS, [ word ], '') },
	marker: function(marker) { return either(MARKERS, [ marker.name ], marker.help) }
});
