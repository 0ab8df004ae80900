'use strict';
'require view';
'require form';
'require rpc';
'require uci';
'require b4.common as b4';

/*
 * The options of the sections main and tun. What is left empty has its default, which
 * stands there in grey, and the limits are those of b4d's own schema.
 */

const callDump = rpc.declare({ object: 'network.interface', method: 'dump', expect: { interface: [] } });

const YES = /^(1|on|true|yes|enabled)$/;

/* stored is the value of an option, whichever of the sections it is in. */
function stored(o, section) {
	return uci.get('b4', o.ucisection || section, o.option);
}

/*
 * flag and pick show a default that is not written as if it was, so that to save what
 * nobody changed writes nothing.
 */
function flag(o, value) {
	o.default = value;
	o.rmempty = false;
	o.load = function(section) {
		const text = stored(this, section);

		return (text == null) ? value : YES.test(text) ? '1' : '0';
	};
	o.write = function(section, now) {
		if (now != this.load(section))
			uci.set('b4', section, this.option, now);
	};
}

function pick(o, value, choices) {
	o.default = value;
	o.rmempty = false;
	choices.forEach(function(choice) { o.value(choice[0], choice[1]) });
	o.load = function(section) { return stored(this, section) || value };
}

function number(o, min, max, value) {
	o.placeholder = value;
	o.datatype = 'and(uinteger,range(%d,%d))'.format(min, max);
}

/* orZero is a number from min to max, or a 0 that stands for something else. */
function orZero(o, min, max, value) {
	o.placeholder = value;
	o.datatype = 'uinteger';
	must(o, function(n) { return +n === 0 || (+n >= min && +n <= max) }, _('0, or a number from %d to %d, is expected.').format(min, max));
}

function text(o, datatype, value) {
	o.datatype = datatype;
	o.placeholder = value;
}

/* isMark tells whether a text is one bit of a mark, with room for the three above it. */
function isMark(value) {
	const n = /^0x[0-9a-f]{1,8}$/i.test(value) ? parseInt(value, 16) : 0;

	return n > 0 && n <= 0x10000000 && (n & (n - 1)) === 0;
}

function isDevice(value) {
	return /^[!-~]{1,15}$/.test(value) && !/[/:%]/.test(value) && !/^\.{1,2}$/.test(value);
}

/* must refuses what test does, with a sentence. */
function must(o, test, sentence) {
	o.validate = function(section, value) { return value === '' || test(value) ? true : sentence };
}

function isPath(value) {
	return /^\/[^\0]*$/.test(value);
}

/* isTable is false for the kernel's own tables. */
function isTable(value) {
	return +value < 252 || +value > 255;
}

/* choices are the interfaces to choose from, and the devices of those that are up. */
function offer(o, interfaces) {
	interfaces.forEach(function(i) {
		if (i.interface == 'loopback')
			return;

		o.value(i.interface);
		if (i.l3_device && i.l3_device != i.interface)
			o.value(i.l3_device, '%s (%s)'.format(i.l3_device, i.interface));
	});
}

function general(s, interfaces) {
	let o;

	s.tab('general', _('General'));

	o = s.taboption('general', form.Flag, 'enabled', _('Switched on'), _('Whether b4 runs. It is the switch of the overview.'));
	flag(o, '0');

	o = s.taboption('general', form.DynamicList, 'wan', _('Internet'), _('Interfaces or devices that lead to the internet. Empty: those with a default route, except tunnels of VPNs.'));
	text(o, 'maxlength(63)', _('found automatically'));
	offer(o, interfaces);

	o = s.taboption('general', form.Flag, 'ipv6', _('IPv6'), _('Treat connections over IPv6, too.'));
	flag(o, '1');

	o = s.taboption('general', form.Flag, 'router', _('The router itself'), _('Treat connections that the router itself opens, too.'));
	flag(o, '1');

	o = s.taboption('general', form.Flag, 'observe', _('Observe'), _('Look at the first answers of servers, to show how connections end. Only the engine nfqueue can do so.'));
	flag(o, '0');

	o = s.taboption('general', form.ListValue, 'log_level', _('Log'), _('How much b4 writes to the system log.'));
	pick(o, 'info', [ [ 'error', _('Errors') ], [ 'warn', _('Errors and warnings') ], [ 'info', _('Normal') ], [ 'debug', _('Everything') ] ]);
}

function ports(s) {
	let o;

	s.tab('ports', _('Ports'), _('The ports of servers that b4 looks at. A rule can have ports of its own besides.'));

	o = s.taboption('ports', form.DynamicList, 'tcp_port', _('HTTPS'), _('TCP ports where connections begin with TLS.'));
	number(o, 1, 65535, '443');

	o = s.taboption('ports', form.DynamicList, 'http_port', _('Plain HTTP'), _('TCP ports that are looked at only if a rule treats or blocks plain HTTP.'));
	number(o, 1, 65535, '80');

	o = s.taboption('ports', form.DynamicList, 'quic_port', _('QUIC'), _('UDP ports that are looked at only if a rule treats or blocks QUIC.'));
	number(o, 1, 65535, '443');
}

function engine(s, interfaces) {
	let o;

	s.tab('engine', _('Engine'), _('How packets come to b4. Flow offloading by software may stay on with each engine; offloading by hardware may hide packets, and the overview says so then.'));

	o = s.taboption('engine', form.ListValue, 'engine', _('Engine'), _('The engine tun is for kernels without queues, and asks more of the router.'));
	pick(o, 'auto', [ [ 'auto', _('The best that this router has') ], [ 'nfqueue', 'nfqueue' ], [ 'tun', 'tun' ] ]);

	o = s.taboption('engine', form.ListValue, 'steer', _('Packets'), _('All packets are only needed where the kernel does not count those of a connection. It is slower by far.'));
	pick(o, 'decisive', [ [ 'decisive', _('The first of a connection') ], [ 'all', _('All') ] ]);

	o = s.taboption('engine', form.Value, 'queue_num', _('Queue'), _('Number of the netfilter queue, the first of several. Change it where another program has the same.'));
	number(o, 0, 65535, '537');

	o = s.taboption('engine', form.Value, 'mark', _('Mark'), _('The lowest of four neighbouring bits of packet marks that b4 uses. Rules for devices take four more. Change it where another program uses the same.'));
	text(o, 'string', '0x01000000');
	must(o, isMark, _('One bit from 0x1 to 0x10000000 is expected.'));

	s.tab('tun', _('Engine tun'), _('Only the engine tun needs these.'));

	o = s.taboption('tun', form.Value, 'out', _('Way out'), _('The interface or device that packets leave by. Empty: the one to the internet.'));
	text(o, 'maxlength(63)', _('found automatically'));
	offer(o, interfaces);

	o = s.taboption('tun', form.Value, 'gateway', _('IPv4 gateway'), _('The next router on the way out. Empty: as the routes say.'));
	text(o, 'ip4addr("nomask")', _('found automatically'));

	o = s.taboption('tun', form.Value, 'ip6gw', _('IPv6 gateway'), _('The next router on the way out. Empty: as the routes say.'));
	text(o, 'ip6addr("nomask")', _('found automatically'));

	o = s.taboption('tun', form.ListValue, 'nat', _('Masquerading'), _('Whether connections take the address of the way out, as they do behind most home routers.'));
	pick(o, 'auto', [ [ 'auto', _('As the firewall does') ], [ 'masquerade', _('Always') ], [ 'none', _('Never') ] ]);

	o = s.taboption('tun', form.Value, 'mtu', _('MTU'), _('The largest packet in bytes, from 1280. 0: as on the way to the internet.'));
	orZero(o, 1280, 65535, '0');

	o = s.taboption('tun', form.Value, 'route_table', _('Route table'), _('Number of a route table for b4 alone. Change it where another program has the same.'));
	number(o, 1, 4294967295, '25140');
	must(o, isTable, _('The tables 252 to 255 belong to the kernel.'));

	o = s.taboption('tun', form.Value, 'device', _('Device'), _('Name of the network device that b4 makes. It should begin with b4tun, which the firewall lets through.'));
	text(o, 'maxlength(15)', 'b4tun0');
	must(o, isDevice, _('A device name is expected: 1 to 15 characters without blanks, slashes, colons and percent signs.'));

	o = s.taboption('tun', form.Value, 'ipaddr', _('IPv4 address'), _('The own address of that device. It never leaves the router.'));
	text(o, 'ip4addr', '10.255.0.1/32');

	o = s.taboption('tun', form.Value, 'ip6addr', _('IPv6 address'), _('The own address of that device. It never leaves the router.'));
	text(o, 'ip6addr', 'fd62:3400::1/128');

	s.children.filter(function(child) { return child.tab == 'tun' }).forEach(function(child) { child.ucisection = 'tun' });
}

function limits(s) {
	let o;

	s.tab('limits', _('Limits'));

	o = s.taboption('limits', form.Value, 'queue_len', _('Queue length'), _('Packets that may wait for b4. Further ones pass untouched.'));
	number(o, 16, 65535, '1024');

	o = s.taboption('limits', form.Value, 'queues', _('Queues'), _('Connections are spread over so many queues, at most one for each processor core. Only the engine nfqueue has them.'));
	number(o, 1, 8, '1');

	o = s.taboption('limits', form.Value, 'max_flows', _('Connections'), _('Connections that b4 remembers at once.'));
	number(o, 64, 65536, '4096');

	o = s.taboption('limits', form.Value, 'memory_limit', _('Memory'), _('MiB that b4 tries to stay below. 0: no limit. Lists of a million names need more.'));
	orZero(o, 8, 4096, '24');

	o = s.taboption('limits', form.Value, 'never', _('Never touched'), _('A file with a name, an address or a network a line. b4 leaves them alone whatever the rules say.'));
	text(o, 'maxlength(4095)', '/etc/b4/never.txt');
	must(o, isPath, _('A path that begins with a slash is expected.'));
}

return view.extend({
	load: function() {
		return Promise.all([ L.resolveDefault(callDump(), []), uci.load('b4') ]);
	},

	render: function(data) {
		const m = new form.Map('b4', _('Settings'), _('All of this has good defaults: only change what you have a reason for.'));
		const s = m.section(form.NamedSection, 'main', 'b4');

		// A section that was deleted by hand would swallow what is entered.
		[ [ 'b4', 'main' ], [ 'tun', 'tun' ] ].forEach(function(section) {
			if (!uci.get('b4', section[1]))
				uci.add('b4', section[0], section[1]);
		});

		s.addremove = false;
		general(s, data[0]);
		ports(s);
		engine(s, data[0]);
		limits(s);

		return m.render().then(function(node) {
			node.appendChild(E('style', {}, [ b4.SIDES ]));
			node.dir = b4.direction() || '';

			return node;
		});
	}
});
