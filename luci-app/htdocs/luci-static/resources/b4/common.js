'use strict';
'require baseclass';
'require rpc';

/*
 * What all pages of b4 share. Names of hosts come from ClientHellos, which anybody
 * on the network can write. So every text is given to E() and dom.content() inside
 * an array: there it becomes a text node, while a bare string would become HTML.
 */

/*
 * answered turns what the bridge refuses into an error with its reply. That a text is
 * wrong is an answer: then error is an object.
 */
function answered(reply) {
	if (typeof reply.error != 'string')
		return reply;

	const err = new Error(reply.error);
	err.reply = reply;
	throw err;
}

/* method makes a function that asks b4d and fails where it is refused. */
function method(name, params) {
	const call = rpc.declare({ object: 'luci.b4', method: name, params: params, reject: true });

	return function() {
		return call.apply(null, arguments).then(answered);
	};
}

const call = {
	status: method('status'),
	counters: method('counters'),
	recent: method('recent'),
	strategies: method('strategies'),
	check: method('check'),
	reload: method('reload'),
	pause: method('pause', [ 'minutes' ]),
	testHost: method('test_host', [ 'host', 'mac', 'address', 'port' ]),
	preview: method('preview', [ 'proto', 'text' ]),
	trace: method('trace', [ 'host', 'seconds' ])
};

/* explain is an error as a sentence. One without a reply is LuCI's own; the bridge has three. */
function explain(err) {
	if (!err.reply)
		return _('The router does not answer. Log in again, or restart the service rpcd.');
	if (/^reload: refused/.test(err.message))
		return _('The configuration was refused. The overview says why.');

	return {
		'b4d is not running': _('b4 is not running.'),
		'b4d does not answer': _('b4d does not answer. Try again in a moment; if this lasts, see the log.'),
		'b4d gives an answer that means nothing': _('b4d does not answer. Try again in a moment; if this lasts, see the log.'),
		'collect: b4 is off: there is nothing to trace': _('b4 is not running.'),
		'collect: another trace is running: end it first': _('Somebody else is watching connections. Try again in a minute.')
	}[err.message] || err.message;
}

function isStopped(err) {
	return err.reply != null && err.reply.running === false;
}

/* locale is LuCI's language, of the browser's region; undefined is the browser's. */
const locale = (function() {
	try {
		const tag = Intl.getCanonicalLocales(document.documentElement.lang.replace('_', '-'))[0];

		return navigator.languages.find(function(language) { return language.indexOf(tag) == 0 }) || tag;
	}
	catch (e) {
		return undefined;
	}
})();

function number(n) {
	return (+n || 0).toLocaleString(locale);
}

function clock(time) {
	return new Date(time).toLocaleTimeString(locale);
}

function date(time) {
	return new Date(time).toLocaleString(locale);
}

const FORMS = { paused: clock, no_hellos: number, late: number, lost: number, send_failed: number };

/* isolated is a text that turns nothing around it, where that runs from right to left. */
function isolated(text) {
	return direction() ? '\u2068' + text + '\u2069' : text;
}

/*
 * finding is what is not as it should be, as a sentence that says what to do. Causes take
 * the place of its last value.
 */
function finding(f) {
	const text = {
		refused: _('The last change was refused, and the configuration before it stays in force: %s. Correct it and apply it again.'),
		off: _('b4 is off, and blocked sites stay blocked.'),
		paused: _('b4 is paused and changes nothing until %s.'),
		waits: _('b4 waits for the internet connection and goes on by itself when it is there: %s.'),
		failing: _('b4 cannot do its work yet and keeps trying: %s.'),
		missing: _('Install the package %s, which b4 needs on this router.'),
		no_engine: _('b4 treats nothing, as its engine does not run. The log says why.'),
		wan: _('The internet interfaces in the settings (%s) do not fit: %s. Choose others.'),
		out: _('The way out that the settings name (%s) does not fit: %s. Choose another.'),
		devices: _('A rule is for an interface that is not there, in %s (%s): %s. Correct the rule.'),
		no_wan: _('No interface leads to the internet, so b4 watches nothing. Check the connection, or choose the interface in the settings.'),
		accounting: _('The router shows b4 nothing, as it does not count the packets of connections. Add this line to /etc/sysctl.conf and restart the router: %s'),
		no_table: _('The counters of b4 in the firewall cannot be read: %s.'),
		no_hellos: _('%s connections were opened, and b4 saw none of their first messages. Flow offloading by hardware, or another program, takes the packets before b4: switch it off.'),
		late: _('b4 comes too late: of %s connections it saw only what follows the first message. Another program may take packets before b4.'),
		lost: _('The router had no room for %s packets on their way to b4, and they passed untouched. A longer queue in the settings may help.'),
		send_failed: _('%s packets could not be sent, and what they stood for passed untouched. The log may say why.'),
		other_program: _('Another program of this kind is running: %s, queue %s. Two of them disturb each other, so stop one.'),
		stale: _('This setting takes effect when b4 is started again: %s.'),
		note_vpn: _('%s is left alone, as it is the tunnel of a VPN (%s). To have it treated, name it as Internet in the settings.'),
		note_port: _('%s carries nothing by itself, as it is a port of %s (%s). Name the latter as Internet in the settings.'),
		note_bridge: _('b4 does not see what the bridge %s carries between its ports (%s).'),
		note_rights: _('b4d has more rights than it needs. Install the package procd-ujail and restart b4.'),
		note_filter: _('b4d has more rights than it needs, as the kernel lacks CONFIG_SECCOMP_FILTER.'),
		note_unread: _('The rights of b4d cannot be read: %s.'),
		uplink_out: _('The way out %s is none of the interfaces that lead to the internet: %s.'),
		uplink_sysctl: _('Packets may get lost. Add this line to /etc/sysctl.conf and restart the router: %s'),
		uplink_custom: _('%s is left alone, as the firewall translates it in a way of its own: %s. Choose Masquerading in the settings.'),
		uplink_address: _('%s is left alone, as %s has no address for it.'),
		quic_unread: _('The rules of the firewall cannot be read, and b4 may miss connections: %s.'),
		quic_scattered: _('QUIC over %s is left alone, as the firewall masquerades it with random ports.'),
		quic_dropped: _('QUIC is blocked without a word, as the kernel cannot tell the device.'),
		quic_unseen: _('The engine tun does not see the QUIC that rule %s blocks. Choose nfqueue, or block all QUIC in the first rule.'),
		offload_unread: _('The rules of the firewall cannot be read, and b4 may miss connections: %s.'),
		offload_hardware: _('Flow offloading by hardware (%s) may take packets before b4. If sites stay blocked, switch it off.'),
		offload_missed: _('Flow offloading may take packets before b4: %s.'),
		engine_set: _('as the settings say'),
		engine_queue: _('the best one, which this router has'),
		engine_tun: _('nfqueue lacks the package %s'),
		way_none: _('%s is left alone.'),
		way_masqueraded: _('%s is masqueraded as %s.'),
		way_routed: _('%s goes out as it is.'),
		no_uplink: _('no interface that is up leads to the internet'),
		down: _('%s is down'),
		empty: _('%s has neither a default route nor an address'),
		several: _('there are several ways out: %s'),
		unknown: _('%s is neither an interface nor a device'),
		needs_queue: _('this needs the engine nfqueue'),
		taken: _('another program has it'),
		groups: _('at most %s groups of devices can be told apart'),
		sysctl: _('/etc/sysctl.conf lacks the line %s'),
		drops: _('the firewall (%s) drops what comes back from %s'),
		no_file: _('there is no file %s'),
		line: _('%s is wrong in line %s')
	}[f.code];
	let args = (f.args || []).map(FORMS[f.code] || String).map(isolated);

	if (!text)
		return f.text;
	if (f.causes)
		args[args.length - 1] = f.causes.map(function(c) { return c.where ? '%s: %s'.format(isolated(c.where), finding(c)) : finding(c) }).join('; ');
	if (/accounting|sysctl$/.test(f.code))
		args = args.slice(1); // the line says why

	return text.format.apply(text, args);
}

/* weight is how bad a finding is: error, warning or info; nothing for what the user chose. */
function weight(f) {
	if (/^(off|paused)$/.test(f.code))
		return '';
	if (/^(refused|failing|missing|no_engine|no_wan|no_hellos|accounting)$/.test(f.code))
		return 'error';

	return /^(note|uplink|quic|waits)/.test(f.code) ? 'info' : 'warning';
}

/* count is how many treated connections ended in one of outcomes. */
function count(status, outcomes) {
	return (status.outcomes || []).reduce(function(sum, tally) {
		return outcomes.reduce(function(n, o) { return n + (tally.outcomes[o] || 0) }, sum);
	}, 0);
}

/* Those that only a censor, or a strategy that does not work, brings about: a server redirects, too. */
const FAILURES = [ 'silent', 'reset', 'forged', 'closed', 'frozen' ];

/* deed says what b4 did about a host. */
function deed(why) {
	return {
		treated: _('Treated'),
		again: _('Treated again, as the client repeated itself'),
		late: _('Treated in part, as the rest came too late'),
		evicted: _('Let pass, as newer connections needed the room'),
		too_long: _('Let pass, as its message is too long'),
		passed: _('Let pass by the rule'),
		dropped: _('Dropped by the rule'),
		rejected: _('Rejected by the rule'),
		no_rule: _('Let pass, no rule matches'),
		as_is: _('Left as it is by the strategy'),
		failed: _('Let pass, the strategy does not fit'),
		quic_part: _('Let pass, as its name was not there yet'),
		quic_odd: _('Let pass, as it cannot be read'),
		finished: _('The connection went on')
	}[why] || why;
}

/* outcome says what became of the last message to a host. */
function outcome(what) {
	return {
		opened: _('Opened'),
		through: _('Answered'),
		silent: _('No answer'),
		reset: _('Cut off'),
		forged: _('Cut off by a forged packet'),
		closed: _('Closed without an answer'),
		redirect: _('Sent elsewhere'),
		frozen: _('Stuck after it began'),
		no_evidence: _('Not known')
	}[what] || what || '-';
}

/* What b4d's terms are in the user's words. */
const TERMS = [
	[ /bytes (\d+)-(\d+) of the datagram/, _('Bytes %d to %d of the datagram') ],
	[ /bytes (-?\d+)-(-?\d+)/, _('Bytes %d to %d') ],
	[ /(\w+) of (\d+) bytes/, _('%s: %d bytes') ],
	[ /ttl (\d+)/, _('TTL %d') ],
	[ /(\d+)ms later/, _('%d ms later') ],
	[ /fragment/, _('Fragment') ],
	[ /to the client/, _('to the device') ],
	[ /bad checksum/, _('wrong checksum') ],
	[ /md5 option/, _('TCP MD5 signature') ]
];

/* packet is what b4d says of a packet, in terms with commas between; others stay as they are. */
function packet(text) {
	return text.split(', ').map(function(term, i) {
		const said = TERMS.reduce(function(now, form) {
			const values = form[0].exec(now);

			return values ? now.replace(values[0], form[1].format.apply(form[1], values.slice(1)).replace(/-(?=\d)/g, '\u200e-')) : now;
		}, term);
		const isName = said.slice(0, 2) == said.slice(0, 2).toUpperCase();

		return isolated((i && !isName) ? said.charAt(0).toLocaleLowerCase(locale) + said.slice(1) : said);
	}).join(', ');
}

/* Lets long words break, so that a phone need not scroll sideways. */
const BREAKING = 'overflow-wrap:anywhere';

/* actions are what a rule may do, in plain words. */
function actions() {
	return {
		desync: _('Get past the block'),
		pass: _('Leave alone'),
		drop: _('Block'),
		reject: _('Block and tell the device')
	};
}

/*
 * direction is that of the language, for the root of a page: most themes leave it as it
 * is. LuCI's dialogs stand beside the page, and have it from then on, too.
 */
function direction() {
	if (!/^(ar|fa|he|ur)\b/.test(document.documentElement.lang))
		return null;

	const dialogs = document.getElementById('modal_overlay');

	if (dialogs)
		dialogs.dir = 'rtl';

	return 'rtl';
}

/*
 * A style for pages in any language. Some run from right to left: the theme aligns cells,
 * and moves lists, signs of help texts and buttons of dialogs, to one side. A path in a
 * field has the direction of its own letters. Choices may be long.
 */
const SIDES = [
	'[dir=rtl] input,[dir=rtl] textarea{unicode-bidi:plaintext}',
	'[dir=rtl] .th,[dir=rtl] .td{text-align:start!important}',
	'[dir=rtl] .cbi-value-description{margin:.25em 1.25em 0 0}',
	'[dir=rtl] .cbi-value-description::before{left:auto;right:-1.25em;margin:0}',
	'[dir=rtl] .right{text-align:end!important}',
	'[dir=rtl] .button-row>:first-child{margin:0 0 0 auto!important}',
	'@media(min-width:900px){.cbi-value-field select{width:auto;min-width:210px}}',
	'.b4-steps,.b4-steps ul{margin:0 0 1em;padding-inline-start:1.75em}',
	'.b4-steps li{color:var(--text-color-high,inherit);overflow-wrap:anywhere}'
].join('');

function notice(kind, text) {
	return E('div', { 'class': 'alert-message ' + kind }, [ E('p', {}, [ text ]) ]);
}

/*
 * table has a row for each of rows, arrays of texts or nodes. A title is a text and,
 * if wanted, a style of its column; empty stands there where there are no rows.
 */
function table(titles, rows, empty) {
	const body = rows.map(function(cells) {
		return E('tr', { 'class': 'tr' }, titles.map(function(title, i) {
			return E('td', { 'class': 'td', 'data-title': title[0], 'style': title[1] || null }, [ cells[i] ]);
		}));
	});

	if (!body.length)
		body.push(E('tr', { 'class': 'tr placeholder' }, [
			E('td', { 'class': 'td', 'colspan': titles.length }, [ E('em', {}, [ empty ]) ])
		]));

	return E('table', { 'class': 'table' }, [
		E('tr', { 'class': 'tr table-titles' }, titles.map(function(title) {
			return E('th', { 'class': 'th' }, [ title[0] ]);
		}))
	].concat(body));
}

return baseclass.extend({
	BREAKING: BREAKING,
	actions: actions,
	FAILURES: FAILURES,
	SIDES: SIDES,
	call: call,
	clock: clock,
	count: count,
	date: date,
	deed: deed,
	direction: direction,
	explain: explain,
	finding: finding,
	isolated: isolated,
	isStopped: isStopped,
	notice: notice,
	number: number,
	outcome: outcome,
	packet: packet,
	table: table,
	weight: weight
});
