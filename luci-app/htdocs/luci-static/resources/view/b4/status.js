'use strict';
'require view';
'require dom';
'require poll';
'require rpc';
'require uci';
'require ui';

/*
 * Names of hosts come from ClientHellos, which anybody on the network can write.
 * So every text is given to E() and dom.content() inside an array: there it
 * becomes a text node, while a bare string would become HTML.
 */

const PAUSE = 10; // minutes

const callStatus = rpc.declare({ object: 'luci.b4', method: 'status', reject: true });
const callRecent = rpc.declare({ object: 'luci.b4', method: 'recent', reject: true });
const callPause = rpc.declare({ object: 'luci.b4', method: 'pause', params: [ 'minutes' ], reject: true });
const callReload = rpc.declare({ object: 'luci.b4', method: 'reload', reject: true });

/* answered turns what the bridge refuses into an error with its reply. */
function answered(reply) {
	if (!reply.error)
		return reply;

	const err = new Error(reply.error);
	err.reply = reply;
	throw err;
}

/* explain is an error as a sentence. One without a reply is LuCI's own. */
function explain(err) {
	return err.reply ? err.message : _('The router does not answer. Log in again, or restart the service rpcd.');
}

function isStopped(err) {
	return err.reply != null && err.reply.running === false;
}

/* fetchAll never fails: what is wrong is shown in place of the status. */
function fetchAll() {
	return Promise.all([ callStatus().then(answered), callRecent().then(answered) ]).then(function(replies) {
		return { status: replies[0], hosts: replies[1].hosts };
	}, function(err) {
		if (!isStopped(err))
			return { error: err };

		uci.unload('b4');

		return L.resolveDefault(uci.load('b4')).then(function() { return { error: err } });
	});
}

/* deed says what b4 did about a host. */
function deed(why) {
	return {
		treated: _('Treated'),
		again: _('Treated again, as the client repeated itself'),
		late: _('Treated in part, as the rest came too late'),
		passed: _('Let pass by the rule'),
		dropped: _('Dropped by the rule'),
		no_rule: _('Let pass, no rule matches'),
		as_is: _('Left as it is by the strategy'),
		failed: _('Let pass, the strategy does not fit')
	}[why] || why;
}

function clock(time) {
	return new Date(time).toLocaleTimeString();
}

/* Lets long words break, so that a phone need not scroll sideways. */
const BREAKING = 'overflow-wrap:anywhere';

function badge(kind, text) {
	return E('span', { 'class': 'label ' + kind, 'style': 'margin-right:1em' }, [ text ]);
}

function renderBadge(data) {
	if (data.error)
		return badge('warning', isStopped(data.error) ? _('Not running') : _('Unknown'));
	if (!data.status.enabled)
		return badge('', _('Off'));
	if (data.status.paused_until)
		return badge('warning', _('Paused until %s').format(clock(data.status.paused_until)));
	if (!data.status.engine || data.status.health.length)
		return badge('warning', _('On, but not well'));

	return badge('success', _('On'));
}

function notice(kind, text) {
	return E('div', { 'class': 'alert-message ' + kind }, [ E('p', {}, [ text ]) ]);
}

/* renderNotices are what is wrong, a sentence each, as b4d writes them. */
function renderNotices(data) {
	if (!data.error)
		return data.status.health.map(function(sentence) { return notice('warning', sentence) });
	if (!isStopped(data.error))
		return [ notice('error', explain(data.error)) ];
	if (!/^(1|on|true|yes|enabled)$/.test(uci.get('b4', 'main', 'enabled')))
		return [ notice('info', _('b4 is switched off. Set the option enabled of the section main in /etc/config/b4 to 1 and start the service b4 to switch it on.')) ];

	return [ notice('error', _('b4 is switched on and yet not running. The system log tells why.')) ];
}

function renderPairs(pairs) {
	return E('table', { 'class': 'table' }, pairs.map(function(pair) {
		return E('tr', { 'class': 'tr' }, [
			E('td', { 'class': 'td left', 'width': '33%' }, [ pair[0] ]),
			E('td', { 'class': 'td left', 'style': BREAKING }, [ pair[1] ])
		]);
	}));
}

function renderStatus(status) {
	const engine = status.engine;
	const pairs = [
		[ _('Engine'), engine ? '%s (%s)'.format(engine.name, engine.why) : _('none') ],
		[ _('Internet'), status.wan ],
		[ _('Watched devices'), status.watched.join(', ') || _('none') ],
		[ _('Version'), status.version ]
	];

	if (engine && engine.uplink)
		pairs.splice(1, 0, [ _('Uplink'), engine.uplink ]);

	return renderPairs(pairs);
}

function renderCounters(status) {
	const kernel = status.kernel, reasons = status.reasons;
	const engine = status.engine ? status.engine.counters : {};

	return renderPairs([
		[ _('Connections opened'), kernel.opened ],
		[ _('Packets shown to b4'), kernel.queued ],
		[ _('ClientHellos seen'), status.hellos ],
		[ _('Treated'), reasons.treated || 0 ],
		[ _('Sent again by clients and treated again'), reasons.again || 0 ],
		[ _('Packets sent in place of others'), engine.sent || 0 ],
		[ _('Packets lost on their way to b4'), engine.lost || 0 ]
	].map(function(pair) { return [ pair[0], '%d'.format(pair[1]) ] }));
}

function renderHosts(hosts) {
	const columns = [
		[ _('Host'), BREAKING ], [ _('What b4 did') ], [ _('Rule') ], [ _('Strategy'), BREAKING ], [ _('Answered') ],
		[ _('Last seen'), 'white-space:nowrap' ]
	];
	const rows = hosts.map(function(host) {
		const texts = [
			host.host, deed(host.why), host.rule || '-', host.strategy || '-',
			host.strategy ? _('%d of %d').format(host.answered, host.hellos) : '-',
			clock(host.time)
		];

		return E('tr', { 'class': 'tr' }, columns.map(function(column, i) {
			return E('td', { 'class': 'td', 'data-title': column[0], 'style': column[1] || null }, [ texts[i] ]);
		}));
	});

	if (!rows.length)
		rows.push(E('tr', { 'class': 'tr placeholder' }, [
			E('td', { 'class': 'td', 'colspan': columns.length }, [ E('em', {}, [ _('No connection has come by yet.') ]) ])
		]));

	return E('table', { 'class': 'table' }, [
		E('tr', { 'class': 'tr table-titles' }, columns.map(function(column) {
			return E('th', { 'class': 'th' }, [ column[0] ]);
		}))
	].concat(rows));
}

function section(title, content) {
	return E('div', { 'class': 'cbi-section' }, [ E('h3', {}, [ title ]), content ]);
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load: function() {
		return fetchAll();
	},

	/* show puts what is there now in the place of what was. */
	show: function(data) {
		const status = data.status;

		dom.content(this.badge, [ renderBadge(data) ]);
		dom.content(this.notices, renderNotices(data));
		dom.content(this.details, status ? [
			section(_('Status'), renderStatus(status)),
			section(_('Counters'), renderCounters(status)),
			section(_('Hosts seen last'), renderHosts(data.hosts))
		] : []);

		this.buttons.style.display = status ? '' : 'none';
		this.pause.style.display = (status && status.enabled && !status.paused_until) ? '' : 'none';
		this.resume.style.display = (status && status.paused_until) ? '' : 'none';
	},

	refresh: function() {
		return fetchAll().then(L.bind(this.show, this));
	},

	/* act does something and shows what has come of it. */
	act: function(call, done) {
		return call.then(answered).then(function() {
			if (done)
				ui.addNotification(null, E('p', {}, [ done ]), 'info');
		}).catch(function(err) {
			ui.addNotification(null, E('p', { 'style': 'white-space:pre-line' }, [ explain(err) ]), 'error');
		}).then(L.bind(this.refresh, this));
	},

	handlePause: function(minutes) {
		return this.act(callPause(minutes));
	},

	handleReload: function() {
		return this.act(callReload(), _('The configuration is in force.'));
	},

	button: function(style, text, handler, arg) {
		return E('button', {
			'class': 'btn cbi-button ' + style,
			'style': 'margin:0 .5em .5em 0',
			'click': ui.createHandlerFn(this, handler, arg),
			'disabled': L.hasViewPermission() ? null : true
		}, [ text ]);
	},

	render: function(data) {
		this.badge = E('span');
		this.notices = E('div');
		this.details = E('div');
		this.pause = this.button('cbi-button-neutral', _('Pause for %d minutes').format(PAUSE), 'handlePause', PAUSE);
		this.resume = this.button('cbi-button-positive', _('Go on'), 'handlePause', 0);
		this.buttons = E('span', {}, [
			this.pause, this.resume, this.button('cbi-button-action', _('Reload configuration'), 'handleReload')
		]);
		this.show(data);
		poll.add(L.bind(this.refresh, this));

		return E('div', {}, [
			E('h2', {}, [ 'b4' ]),
			E('div', { 'class': 'cbi-map-descr' }, [ _('b4 opens sites that the provider blocks by their name.') ]),
			E('p', {}, [ this.badge, this.buttons ]),
			this.notices,
			this.details
		]);
	}
});
