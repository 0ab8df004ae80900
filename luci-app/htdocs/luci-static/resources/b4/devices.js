'use strict';
'require baseclass';
'require b4.entry as entry';
'require rpc';

/*
 * The devices a rule is for: known ones by name and address, written as their MAC,
 * and others by address, network or the interface they are behind. What devices
 * call themselves is theirs to choose: texts, never HTML.
 */

const MAX_INTERFACE = 63;

const callHints = rpc.declare({ object: 'luci-rpc', method: 'getHostHints', expect: { '': {} } });

/*
 * known makes a list of what LuCI knows: { mac, name, address, addresses }, those with
 * names first. name is "" where none is known.
 */
function known(hints) {
	const list = Object.keys(hints || {}).map(function(mac) {
		const hint = hints[mac] || {};
		const addresses = entry.array(hint.ipaddrs || hint.ipv4).concat(entry.array(hint.ip6addrs || hint.ipv6));

		return { mac: mac.toLowerCase(), name: String(hint.name || ''), address: addresses[0] || '', addresses: addresses };
	}).filter(function(device) {
		return parse(device.mac).kind == 'mac';
	});

	return list.sort(function(a, b) {
		return (!a.name - !b.name) || a.name.localeCompare(b.name) || a.mac.localeCompare(b.mac);
	});
}

/* load never fails: without hints all can be written by hand. */
function load() {
	return L.resolveDefault(callHints(), {}).then(known);
}

/* find is the device of a MAC or an address, or null. */
function find(list, text) {
	return list.filter(function(device) {
		return device.mac == String(text).toLowerCase() || device.addresses.indexOf(text) >= 0;
	})[0] || null;
}

/* title is a device in a few words. */
function title(device) {
	const name = entry.plain(device.name || device.mac, 32);

	return device.address ? '\u2068%s\u2069 (%s)'.format(name, entry.plain(device.address)) : name;
}

/* called is what to call the device of a MAC, an address or an interface. */
function called(list, text) {
	const device = find(list, text);

	return (device && device.name) ? entry.plain(device.name, 32) : entry.plain(text);
}

/* list is what to call devices, with what they are known by in small print. */
function list(all, texts) {
	return E('div', {}, texts.map(function(text) {
		const name = called(all, text), plain = entry.plain(text);

		return E('div', {}, [ E('bdi', {}, [ name ]), ' ', (name == plain) ? '' : E('small', {}, [ E('bdi', {}, [ plain ]) ]) ]);
	}));
}

/*
 * parse reads what a device is named by. It is { kind, value }, where kind is the
 * option it goes to (mac, source or interface), or { error }.
 */
function parse(text) {
	text = String(text).trim();

	if (/^[0-9a-f]{2}([:-])[0-9a-f]{2}(\1[0-9a-f]{2}){4}$/i.test(text)) {
		const mac = text.toLowerCase().replace(/-/g, ':');

		if (mac == '00:00:00:00:00:00' || parseInt(mac.slice(0, 2), 16) & 1)
			return { error: _('No device sends by this MAC. Write the one of the device, such as 00:11:22:aa:bb:cc.') };

		return { kind: 'mac', value: mac };
	}

	const there = entry.network(text);

	if (there)
		return there.error ? there : { kind: 'source', value: there.value };
	if (!text || /[\s/]/.test(text) || /^[\d.]+$/.test(text) || /^[0-9a-f:-]*:[0-9a-f:.-]*(%|$)/i.test(text))
		return { error: _('Write a MAC, an address, a network or an interface.') };
	if (entry.size(text) > MAX_INTERFACE)
		return { error: _('The name of an interface has at most %d characters.').format(MAX_INTERFACE) };

	return { kind: 'interface', value: text };
}

return baseclass.extend({
	called: called,
	find: find,
	known: known,
	list: list,
	load: load,
	parse: parse,
	title: title
});
