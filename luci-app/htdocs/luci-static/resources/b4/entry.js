'use strict';
'require baseclass';

/*
 * What people write into one field, read as one of the options of a rule: a name, a
 * link to a page, an address, a network, the path of a list. The values are written
 * as b4d would write them, so that none is there twice.
 */

const MAX_NAME = 253, MAX_LABEL = 63, MAX_PATH = 4095, MAX_SHOWN = 80;

/* Second labels below which names are registered, as in co.uk. */
const SECOND = /^(ac|co|com|edu|gob|gov|gen|go|info|k12|mil|ne|net|nom|or|org|web)$/;

/*
 * Characters that are not seen, or that turn the text around them: controls, what
 * joins and marks directions, isolates and overrides.
 */
const UNSEEN = /[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u115f\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g; // eslint-disable-line no-control-regex

/*
 * plain is a text from the network fit to be shown: what is not seen is written in
 * hex, and of more than max characters (80 unless told) the midst is left out.
 */
function plain(text, max) {
	const shown = String(text).replace(UNSEEN, function(c) {
		return '\\x' + c.charCodeAt(0).toString(16);
	});
	const half = ((max || MAX_SHOWN) - 1) >> 1;

	return (shown.length <= 2 * half + 1) ? shown : shown.slice(0, half) + '…' + shown.slice(-half);
}

/* quote is plain in a sentence, whose direction it does not change. */
function quote(text) {
	return '\u2068' + plain(text) + '\u2069';
}

/* size is the bytes of a text, which b4d counts. */
function size(text) {
	return new TextEncoder().encode(text).length;
}

/* groups are the eight numbers of an IPv6 address, or null. */
function groups(text) {
	let host;

	if (!/^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(text))
		return null;

	try {
		host = new URL('http://[' + text + ']/').hostname.slice(1, -1);
	}
	catch (err) {
		return null;
	}

	const halves = host.split('::').map(function(half) {
		return half ? half.split(':').map(function(n) { return parseInt(n, 16) }) : [];
	});

	return (halves.length == 1) ? halves[0]
		: halves[0].concat(new Array(8 - halves[0].length - halves[1].length).fill(0), halves[1]);
}

/* bytes are the four numbers of an IPv4 address, or null. */
function bytes(text) {
	if (!/^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$/.test(text))
		return null;

	const list = text.split('.').map(Number);

	return list.every(function(n) { return n < 256 }) ? list : null;
}

/*
 * network reads an address or a network and clears the bits beyond its length. It is
 * { value } or { error }, and null for what looks like neither.
 */
function network(text) {
	const parts = text.split('/');
	const v4 = bytes(parts[0]), list = v4 || groups(parts[0]);

	if (!list || parts.length > 2)
		return null;

	const width = v4 ? 8 : 16, all = v4 ? 32 : 128;
	const bits = (parts.length == 1) ? all : /^\d{1,3}$/.test(parts[1]) ? +parts[1] : -1;

	if (bits < 0 || bits > all)
		return { error: _('Write the length of the network as a number from 1 to %d.').format(all) };
	if (bits == 0)
		return { error: _('This is all addresses. To mean all, leave the field empty.') };
	if (!v4 && !list.slice(0, 5).some(Number) && list[5] == 0xffff)
		return { error: _('Write this IPv4 address without ::ffff: ahead.') };

	const masked = list.map(function(n, i) {
		const kept = Math.max(0, Math.min(width, bits - i * width));

		return n & ~((1 << (width - kept)) - 1) & ((1 << width) - 1);
	});
	const address = v4 ? masked.join('.')
		: new URL('http://[' + masked.map(function(n) { return n.toString(16) }).join(':') + ']/').hostname.slice(1, -1);

	return { value: (bits == all) ? address : address + '/' + bits };
}

/* hostOf cuts a link, or a host with its port, down to the host. */
function hostOf(text) {
	const host = text.replace(/^[a-z][a-z0-9+.-]*:\/\//i, '').replace(/^\/\//, '').split(/[/?#\\]/)[0].replace(/^.*@/, '');

	return (host.charAt(0) == '[') ? host.slice(1).replace(/\](:\d*)?$/, '') : host.replace(/:\d*$/, '');
}

/* ascii is a name as it is on the wire: in lower case, and with xn-- where needed. */
function ascii(name) {
	if (!/[\u0080-\uffff]/.test(name))
		return name.toLowerCase();

	try {
		return new URL('http://' + name + '/').hostname;
	}
	catch (err) {
		return name;
	}
}

/* domain reads a name, with what people write around one. */
function domain(text) {
	if (text == '*')
		return { kind: 'domain', value: '*' };

	const host = hostOf(text), there = network(host);

	if (there)
		return there.error ? there : { kind: 'prefix', value: there.value };

	const name = ascii(host.replace(/^(\*?\.)+/, '').replace(/[.\u3002]+$/, ''));

	if (!name)
		return { error: _('Write a name such as example.org.') };
	if (name.indexOf('*') >= 0)
		return { error: _('Leave out the *: a name stands for all names below it anyway.') };
	if (name.length > MAX_NAME)
		return { error: _('This name is too long: a name has at most %d characters.').format(MAX_NAME) };
	if (/(^|\.)(\d+|0x[0-9a-f]*)$/.test(name))
		return { error: _('This is neither a name nor a whole address. Write one such as 203.0.113.5 or a network such as 203.0.113.0/24.') };

	for (const label of name.split('.')) {
		if (!label)
			return { error: _('There are two dots in a row. Write a name such as example.org.') };
		if (label.length > MAX_LABEL)
			return { error: _('Between two dots a name has at most %d characters.').format(MAX_LABEL) };
		if (/[^a-z0-9_-]/.test(label))
			return { error: _('No name has the character %s. Write one such as example.org.').format(quote(label.match(/[^a-z0-9_-]/u)[0])) };
	}

	return { kind: 'domain', value: name };
}

/*
 * parse reads an entry. It is { kind, value }, where kind is the option it goes to
 * (domain, prefix or domain_file), or { error }: a sentence that says what to do.
 */
function parse(text) {
	text = String(text).trim();

	if (text.charAt(0) == '/' && text.charAt(1) != '/') {
		if (size(text) > MAX_PATH)
			return { error: _('This path is too long.') };

		return { kind: 'domain_file', value: text };
	}

	const there = network(text.replace(/^\[(.*)\]$/, '$1'));

	if (there)
		return there.error ? there : { kind: 'prefix', value: there.value };
	if (/\s|,/.test(text))
		return { error: _('Write one entry at a time.') };

	return domain(text);
}

/* pieces are the entries in a text that was pasted: a path is one with its blanks. */
function pieces(text) {
	return String(text).split(/[\r\n]+/).reduce(function(list, line) {
		line = line.trim();

		return list.concat(/^\/[^/]/.test(line) ? [ line ] : line.split(/[\s,;]+/).filter(Boolean));
	}, []);
}

/* array is what a list of UCI holds, which may be a single text, or nothing. */
function array(value) {
	return (value == null || value === '') ? [] : Array.isArray(value) ? value : String(value).split(/\s+/).filter(Boolean);
}

/*
 * divide puts entries into a list for each of the options, none twice. What read
 * cannot read goes to the first as it is, for b4d to complain: it is not lost.
 */
function divide(texts, options, read) {
	const lists = {};

	options.forEach(function(option) { lists[option] = [] });
	array(texts).forEach(function(text) {
		const found = read(text), list = lists[found.error ? options[0] : found.kind];
		const value = found.error ? text : found.value;

		if (list.indexOf(value) < 0)
			list.push(value);
	});

	return lists;
}

/*
 * names are what a rule for a host may say: the host, and the name above it that
 * somebody registered, as far as one can guess it. What clients write may be no name
 * at all: then there are none.
 */
function names(host) {
	const found = parse(host);

	if (found.error || found.value == '*' || found.value != String(host).toLowerCase().replace(/\.$/, ''))
		return [];
	if (found.kind != 'domain')
		return (found.kind == 'prefix') ? [ found.value ] : [];

	const labels = found.value.split('.');
	const last = labels.length - 1;
	const kept = (last > 1 && labels[last].length == 2 && SECOND.test(labels[last - 1])) ? 3 : 2;
	const above = labels.slice(-kept).join('.');

	return (labels.length > kept) ? [ found.value, above ] : [ found.value ];
}

/* isReserved tells of names that sections have, or will have, that are no rules. */
function isReserved(name) {
	return /^(auto|default|main|tun)$/.test(name);
}

/* label makes the name of a section from an entry; taken says which there are. */
function label(text, taken) {
	const found = parse(text), file = /([^/]+?)(\.[a-z]+)?$/;
	let stem = 'rule';

	if (found.kind == 'domain' && found.value != '*')
		stem = names(found.value).pop().split('.')[0];
	else if (found.kind == 'domain_file')
		stem = found.value.match(file) ? found.value.match(file)[1] : stem;
	else if (found.kind == 'prefix')
		stem = 'net_' + found.value;

	stem = stem.replace(/[^a-z0-9]+/gi, '_').replace(/^_+|_+$/g, '').slice(0, 24) || 'rule';

	for (let n = 2, name = stem; ; n++) {
		if (!isReserved(name) && !taken(name))
			return name;

		name = stem + n;
	}
}

return baseclass.extend({
	array: array,
	divide: divide,
	isReserved: isReserved,
	label: label,
	names: names,
	network: network,
	parse: parse,
	pieces: pieces,
	plain: plain,
	quote: quote,
	size: size
});
