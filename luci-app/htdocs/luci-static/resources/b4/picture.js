'use strict';
'require baseclass';
'require b4.common as b4';

/*
 * The picture of what a strategy does to a sample message: the message as a bar, and
 * below it the packets in the order they leave, each at its place of the bar. Places
 * are percents of the width, so that the picture fits a phone as it fits a desk. The
 * texts beside the bars tell all that the bars show.
 */

/* Percents of the width that a letter of the name takes, and that all of them may. */
const LETTER = 2.7, LETTERS = 45;

/* The width in percents of a packet that has no byte of the message. */
const EMPTY = 0.6;

/* The narrowest picture in px, and what a letter of a mark takes of it. */
const NARROW = 300, MARK_LETTER = 6.5;

const MAX_ROWS = 40;
const BAR = 18, LEVEL = 13; // px

let pictures = 0;

/* nameOf is where the name stands in the message, null where it says none. */
function nameOf(marks, host) {
	const mark = marks.find(function(m) { return m.name == 'host' });

	return (mark && host) ? { from: mark.at, to: mark.at + host.length } : null;
}

/*
 * scaleOf makes a function from bytes to percents. It is true to scale within the
 * name alone: elsewhere a long part takes little more than a short one, so that a cut
 * behind the first byte can be seen.
 */
function scaleOf(reply, name) {
	const edges = {};
	let total = 0, spread = 0, x = 0;

	[ 0, reply.length ].concat(name ? [ name.from, name.to ] : []).forEach(function(at) { edges[at] = true });
	reply.packets.forEach(function(p) { edges[p.from] = edges[p.to] = true });

	const at = Object.keys(edges).map(Number).sort(function(a, b) { return a - b });
	const inName = function(from) { return name && from >= name.from && from < name.to };
	const weight = function(from, to) { return 2 + Math.log2(1 + to - from) };
	const letter = name ? Math.min(LETTER, LETTERS / (name.to - name.from)) : 0;

	for (let i = 1; i < at.length; i++)
		if (inName(at[i - 1]))
			spread += (at[i] - at[i - 1]) * letter;
		else
			total += weight(at[i - 1], at[i]);

	const places = at.map(function(to, i) {
		if (i)
			x += inName(at[i - 1]) ? (to - at[i - 1]) * letter : weight(at[i - 1], to) * (100 - spread) / total;

		return x;
	});

	return function(pos) {
		let i = 1;

		while (i < at.length - 1 && at[i] < pos)
			i++;

		return places[i - 1] + (places[i] - places[i - 1]) * (pos - at[i - 1]) / (at[i] - at[i - 1]);
	};
}

/*
 * flags puts marks on levels, 0 the lowest, so that no label stands across the line
 * of a mark to its right.
 */
function flags(marks, scale) {
	const sorted = marks.slice().sort(function(a, b) { return a.at - b.at });
	const placed = [];

	for (let i = sorted.length - 1; i >= 0; i--) {
		const x = scale(sorted[i].at), end = x + (sorted[i].name.length + 1) * MARK_LETTER / NARROW * 100;
		const below = placed.filter(function(other) { return other.x < end });

		placed.unshift({
			name: sorted[i].name, at: sorted[i].at, x: x,
			level: below.reduce(function(level, other) { return Math.max(level, other.level + 1) }, 0)
		});
	}

	return placed;
}

/* lettersOf are those letters of the name that a part of the message has. */
function lettersOf(reply, name, scale, from, to) {
	const letters = [];

	for (let at = Math.max(from, name ? name.from : to); name && at < Math.min(to, name.to); at++)
		letters.push({ x: (scale(at) + scale(at + 1)) / 2, letter: reply.host[at - name.from] });

	return letters;
}

/* partsOf are the pieces of a bar: bytes of the message, of its name, and others. */
function partsOf(packet, reply, name, scale) {
	const parts = [];

	function part(kind, from, to) {
		parts.push({ kind: kind, x: scale(from), width: Math.max(scale(to) - scale(from), EMPTY) });
	}

	part(packet.decoy ? 'decoy' : 'message', packet.from, packet.to);
	if (name && !packet.decoy && packet.from < name.to && packet.to > name.from)
		part('name', Math.max(name.from, packet.from), Math.min(name.to, packet.to));

	return parts;
}

function same(a, b) {
	return a.from == b.from && a.to == b.to && a.decoy == b.decoy && a.ttl == b.ttl && a.after == b.after && a.text == b.text;
}

/*
 * shapes is what there is to draw of a reply of the method preview. In QUIC marks are
 * places in what the packet hides, so that the bar has none.
 */
function shapes(reply, proto) {
	const marks = proto == 'quic' ? [] : reply.marks;
	const name = nameOf(marks, reply.host), scale = scaleOf(reply, name);
	const whole = { from: 0, to: reply.length };
	const rows = [];

	reply.packets.forEach(function(packet) {
		const last = rows[rows.length - 1];

		if (last && same(last.packet, packet))
			last.count++;
		else
			rows.push({ packet: packet, count: 1 });
	});

	rows.forEach(function(row) {
		row.parts = partsOf(row.packet, reply, name, scale);
		row.letters = row.packet.decoy ? [] : lettersOf(reply, name, scale, row.packet.from, row.packet.to);
	});

	return {
		marks: flags(marks, scale),
		parts: partsOf(whole, reply, name, scale),
		letters: lettersOf(reply, name, scale, 0, reply.length),
		rows: rows.slice(0, MAX_ROWS),
		more: Math.max(0, rows.length - MAX_ROWS)
	};
}

/* content says what a packet has of the message. */
function content(p) {
	if (p.from == p.to)
		return p.decoy ? _('Decoy without data') : _('Nothing of the message');

	return (p.decoy ? _('Decoy of bytes %d to %d') : _('Bytes %d to %d')).format(p.from, p.to);
}

/* terms are what b4d says of a packet besides its bytes, its TTL and when it leaves. */
function terms(packet) {
	const bytes = 'bytes %d-%d'.format(packet.from, packet.to);

	return packet.text.split(', ').filter(function(term) {
		return term != bytes && !/^(ttl \d+|\S+ later|udp of \d+ bytes)$/.test(term);
	});
}

/* say tells in words what a row shows; ttl is what packets have that are no decoys. */
function say(row, ttl) {
	const p = row.packet;
	const said = [ content(p) ].concat(terms(p));

	if (p.ttl != ttl)
		said.push(_('TTL %d').format(p.ttl));
	if (p.after)
		said.push(_('%d ms later').format(p.after));
	if (row.count > 1)
		said.push(_('%d times').format(row.count));

	return b4.packet(said.join(', '));
}

function svg(tag, attrs, children) {
	const node = document.createElementNS('http://www.w3.org/2000/svg', tag);

	Object.keys(attrs).forEach(function(key) { node.setAttribute(key, attrs[key]) });
	(children || []).forEach(function(child) { node.appendChild(child.nodeType ? child : document.createTextNode(child)) });

	return node;
}

function percent(x) {
	return '%.2f%%'.format(x);
}

function bar(shape, top, hatch) {
	return shape.parts.map(function(part) {
		return svg('rect', {
			'class': 'b4-' + part.kind, 'x': percent(part.x), 'y': top + 1, 'width': percent(part.width), 'height': BAR - 2,
			'fill': part.kind == 'decoy' ? 'url(#%s)'.format(hatch) : 'currentColor'
		});
	}).concat(shape.letters.map(function(l) {
		return svg('text', { 'x': percent(l.x), 'y': top + BAR - 5, 'text-anchor': 'middle' }, [ l.letter ]);
	}));
}

function canvas(height, children) {
	return svg('svg', { 'width': '100%', 'height': height, 'aria-hidden': 'true', 'focusable': 'false' }, children);
}

/* head is the message with its marks; those in used stand out. */
function head(shown, used, hatch) {
	const levels = shown.marks.reduce(function(most, mark) { return Math.max(most, mark.level + 1) }, 0);
	const top = levels * LEVEL + 2;
	const pattern = svg('pattern', { 'id': hatch, 'width': 6, 'height': 6, 'patternUnits': 'userSpaceOnUse', 'patternTransform': 'rotate(45)' }, [
		svg('rect', { 'class': 'b4-hatch', 'width': 2, 'height': 6 })
	]);
	const marks = shown.marks.map(function(mark) {
		const y = top - mark.level * LEVEL;

		return svg('g', { 'class': used.indexOf(mark.name) >= 0 ? 'b4-mark b4-used' : 'b4-mark' }, [
			svg('line', { 'x1': percent(mark.x), 'x2': percent(mark.x), 'y1': y - LEVEL + 2, 'y2': top + BAR - 1 }),
			svg('text', { 'x': percent(mark.x), 'dx': 3, 'y': y - 3 }, [ mark.name ])
		]);
	});

	return canvas(top + BAR, [ svg('defs', {}, [ pattern ]) ].concat(bar(shown, top, hatch), marks));
}

const STYLE = [
	'.b4-picture{margin:0}',
	'.b4-picture svg{display:block;direction:ltr;overflow:visible;font-size:11px}',
	'.b4-picture rect,.b4-used{color:var(--primary-color-high,#1976d2)}',
	'.b4-picture text{fill:currentColor;font-family:monospace}',
	'.b4-picture ol{list-style:none;margin:.5em 0;padding:0}',
	'.b4-picture li{margin:0 0 .5em;line-height:1.5;color:inherit}',
	'.b4-message{stroke:currentColor;fill-opacity:.16}',
	'.b4-name{fill-opacity:.36}',
	'.b4-decoy{stroke:var(--error-color-high,#e8210d);stroke-dasharray:4 3}',
	'.b4-hatch{fill:var(--error-color-high,#e8210d);opacity:.45}',
	'.b4-mark line{stroke:var(--text-color-medium,#808080);stroke-opacity:.5}',
	'.b4-mark text{fill:var(--text-color-medium,#737373)}',
	'.b4-used line{stroke:currentColor;stroke-opacity:1;stroke-width:2}',
	'.b4-used text{fill:currentColor;font-weight:bold}'
].join('\n');

/* render draws a reply without an error; used are the names of marks that stand out. */
function render(reply, proto, used) {
	const shown = shapes(reply, proto), hatch = 'b4-hatch-%d'.format(++pictures);
	const ttl = reply.packets.reduce(function(most, p) { return Math.max(most, p.ttl) }, 0);
	const rows = shown.rows.map(function(row, i) {
		return E('li', {}, [ '%d. %s'.format(i + 1, say(row, ttl)), canvas(BAR, bar(row, 0, hatch)) ]);
	});

	if (shown.more)
		rows.push(E('li', {}, [ _('and %d more').format(shown.more) ]));

	return E('figure', { 'class': 'b4-picture' }, [
		E('figcaption', {}, [ _('A message of %d bytes to %s').format(reply.length, reply.host) ]),
		head(shown, used, hatch),
		E('ol', { 'aria-label': _('Packets in the order they leave') }, rows)
	]);
}

return baseclass.extend({
	STYLE: STYLE,
	render: render,
	say: say,
	shapes: shapes
});
