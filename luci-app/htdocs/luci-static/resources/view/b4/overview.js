'use strict';
'require view';
'require dom';
'require poll';
'require uci';
'require ui';
'require b4.common as b4';
'require b4.chart as chart';
'require b4.cure as cures';
'require b4.devices as devices';

const PAUSE = 10;     // minutes
const PATIENCE = 15;  // seconds that b4 may take to start or to stop
const EVERY = 5;      // seconds between looks
const YOUNG = 2000;   // ms; what was seen since then is not asked for again
const STORE = 'b4-samples';

const CSS = [
	'.b4-row{display:flex;flex-wrap:wrap;gap:.5em 1em;align-items:center;justify-content:space-between}',
	'.b4-card{border:1px solid var(--border-color-medium,rgba(128,128,128,.3));border-radius:8px;padding:1em;min-width:0;overflow-wrap:anywhere}',
	'.b4-cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(15em,1fr));gap:1em;margin:1em 0}',
	'.b4-hero{padding:1.25em;border-inline-start:6px solid var(--b4-state);margin:1em 0}',
	'.b4-hero h3{margin:0;padding:0;border:0;line-height:1.4}',
	'.b4-hero p{margin:.15em 0 0}',
	'.b4-words{flex:1 1 14em;min-width:0;overflow-wrap:anywhere}',
	'.b4-switch,.b4-switch:hover{flex:none;position:relative;width:72px;height:40px;margin:0;padding:0;border:0;border-radius:20px;cursor:pointer;',
	'background:rgba(128,128,128,.55);box-shadow:none;transition:background-color .2s}',
	'.b4-switch[aria-checked=true]{background:var(--success-color-high,#00a050)}',
	'.b4-switch::after{content:"";position:absolute;top:4px;inset-inline-start:4px;width:32px;height:32px;border-radius:50%;background:#fff;',
	'box-shadow:0 1px 3px rgba(0,0,0,.4);transition:inset-inline-start .2s}',
	'.b4-switch[aria-checked=true]::after{inset-inline-start:36px}',
	'.b4-switch:focus-visible{outline:3px solid var(--primary-color-high,#1976d2);outline-offset:3px}',
	'.b4-switch[disabled]{opacity:.5;cursor:default}',
	'@media (prefers-reduced-motion:reduce){.b4-switch,.b4-switch::after{transition:none}}',
	'.b4-list{list-style:none;margin:0;padding:0}',
	'.b4-list li{display:flex;flex-wrap:wrap;gap:.4em .75em;align-items:center;margin:0;padding:.45em 0;color:inherit}',
	'.b4-bad li{padding:.6em 0;border-bottom:1px solid var(--border-color-low,rgba(128,128,128,.2))}',
	'.b4-good{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24em),1fr));gap:0 1.5em}',
	'.b4-mark{flex:none;width:1.6em;height:1.6em;line-height:1.6em;border-radius:50%;text-align:center;font-weight:bold;color:#fff}',
	'.b4-chart svg{display:block;width:100%;height:64px;margin:.5em 0;direction:ltr}',
	'.b4-chart span{opacity:.75}',
	'.b4-value{display:block;font-size:1.6em;line-height:1.4}',
	'.b4-facts{display:grid;grid-template-columns:minmax(7em,max-content) 1fr;gap:.4em 1.5em;margin:0 0 1em}',
	'.b4-facts dt{opacity:.75;font-weight:normal}.b4-facts dd{margin:0;min-width:0;overflow-wrap:anywhere}'
].join('');

const GREEN = 'var(--success-color-high,#00a050)', YELLOW = 'var(--warn-color-high,#d9a400)';
const RED = 'var(--error-color-high,#d9363e)', BLUE = 'var(--primary-color-high,#1976d2)', GREY = 'rgba(128,128,128,.55)';

/* isEnabled is what the configuration says that is in force: uci has what is saved and not applied, too. */
function isEnabled() {
	const waits = ((ui.changes.changes || {}).b4 || []).some(function(change) { return change[1] == 'main' && change[2] == 'enabled' });

	return /^(1|on|true|yes|enabled)$/.test(uci.get('b4', 'main', 'enabled')) != waits;
}

/* state is how b4 is: off, on, paused, ill, dead (though switched on) or unknown. */
function state(data) {
	if (data.error)
		return b4.isStopped(data.error) ? (data.enabled ? 'dead' : 'off') : 'unknown';
	if (!data.status.enabled)
		return 'off';
	if (data.status.paused_until)
		return 'paused';

	return data.status.health.some(function(f) { return /^(error|warning)$/.test(b4.weight(f)) }) ? 'ill' : 'on';
}

/* headline is a state in words and in a colour. */
function headline(what, data) {
	switch (what) {
	case 'on':
		return [ GREEN, _('b4 is on'), _('It looks after all devices behind this router, but for those that a rule leaves alone.') ];
	case 'off':
		return [ GREY, _('b4 is off'), _('Switch it on to open blocked sites on all devices behind this router. It needs no settings.') ];
	case 'paused':
		return [ YELLOW, _('b4 is paused'), _('It changes nothing until %s, and then goes on by itself.').format(b4.clock(data.status.paused_until)) ];
	case 'ill':
		return [ YELLOW, _('b4 is on, but not all is well'), _('See below what is wrong and what to do.') ];
	case 'dead':
		return [ RED, _('b4 is switched on and does not run'), _('The log says why. See also under System, Startup, whether the service b4 is enabled.') ];
	case 'starting':
		return [ BLUE, _('b4 starts…'), _('This takes a few seconds.') ];
	case 'stopping':
		return [ BLUE, _('b4 stops…'), _('This takes a few seconds.') ];
	}

	return [ RED, _('The state of b4 is not known'), b4.explain(data.error) ];
}

/* sample is what the charts are drawn of. */
function sample(status, time) {
	const k = status.kernel;

	return { time: time, opened: k.opened, failed: b4.count(status, b4.FAILURES), packets: k.queued + (k.quic || 0) + (k.replies || 0) };
}

/* checks are what is well, a sentence each, and then what is not seen yet. */
function checks(status) {
	const seen = status.hellos + (status.requests || 0) + (status.initials || 0), k = status.kernel;
	const shown = k.queued + (k.quic || 0), opened = b4.count(status, [ 'opened' ]);
	const list = [];

	if (status.engine)
		list.push([ 'good', _('The engine %s runs.').format(status.engine.name) ]);
	if (status.watched.length)
		list.push([ 'good', _('The internet is found behind %s.').format(status.watched.join(', ')) ]);
	if (shown)
		list.push([ 'good', _('Packets come to b4: %s so far.').format(b4.number(shown)) ]);
	if (seen)
		list.push([ 'good', _('b4 sees which sites are asked for: %s times so far.').format(b4.number(seen)) ]);
	else if (status.engine && !status.health.some(function(f) { return f.code == 'no_hellos' }))
		list.push([ 'info', _('No site has been asked for yet. Open one on a device behind this router.') ]);
	if (opened)
		list.push([ 'good', _('Connections that opened with the help of b4: %s.').format(b4.number(opened)) ]);

	return list;
}

/* sites is which names and addresses a rule is for, a text for each kind. */
function sites(rule) {
	const list = [];

	if (rule.names > 0)
		list.push(_('Names: %s').format(b4.number(rule.names)));
	if (rule.prefixes)
		list.push(_('Networks: %s').format(b4.number(rule.prefixes)));
	if (!list.length)
		list.push(rule.names ? _('All sites') : _('No site'));
	if (rule.not)
		list.push(_('Exceptions: %s').format(b4.number(rule.not)));

	return list;
}

/* deeds is what a rule does. */
function deeds(rule) {
	const does = Object.assign(b4.actions(), { desync: _('Treat by strategy %s').format(rule.strategy) });
	const list = [ does[rule.action] || rule.action ];

	if (rule.quic_action && rule.quic_action != rule.action)
		list.push(_('QUIC: %s').format(does[rule.quic_action] || rule.quic_action));

	return list;
}

function lines(texts) {
	return E('div', {}, texts.map(function(text) { return E('div', {}, [ text ]) }));
}

/* who is whom a rule is for. */
function who(rule) {
	const w = rule.who || {};

	return [].concat(w.macs || [], w.sources || [], w.interfaces || []);
}

function renderRules(rules, known) {
	return b4.table([ [ _('Rule'), b4.BREAKING ], [ _('Sites') ], [ _('Devices'), b4.BREAKING ], [ _('Ports') ], [ _('What happens'), b4.BREAKING ] ],
		rules.map(function(rule) {
			return [ rule.name, lines(sites(rule)), who(rule).length ? devices.list(known, who(rule)) : _('All'), rule.ports || _('All that are watched'), lines(deeds(rule)) ];
		}), _('There are no rules, so b4 leaves everything alone.'));
}

function renderFacts(status) {
	const engine = status.engine, ways = (engine && engine.ways) || [], net = status.internet || {};
	const found = [ [ 'IPv4', net.v4 ], [ 'IPv6', net.v6 ], [ _('Down'), net.down ] ].filter(function(kind) { return (kind[1] || []).length });
	const pairs = [
		[ _('Engine'), engine ? '%s (%s)'.format(engine.name, b4.finding(engine.reason || { text: engine.why })) : _('none') ],
		[ _('Uplink'), ways.length ? lines(ways.map(b4.finding)) : null ],
		[ _('Internet'), found.length ? lines(found.map(function(kind) { return '%s: %s'.format(kind[0], kind[1].join(', ')) })) : _('none') ],
		[ _('Version'), status.version ]
	].filter(function(pair) { return pair[1] });

	return E('dl', { 'class': 'b4-facts' }, [].concat.apply([], pairs.map(function(pair) {
		return [ E('dt', {}, [ pair[0] ]), E('dd', {}, [ pair[1] ]) ];
	})));
}

function item(kind, text, cures) {
	const mark = {
		good: [ '✓', _('Good'), GREEN ], info: [ 'i', _('Note'), BLUE ], warning: [ '!', _('Warning'), YELLOW + ';color:#222' ], error: [ '!', _('Problem'), RED ]
	}[kind];

	return E('li', {}, [
		E('span', { 'class': 'b4-mark', 'role': 'img', 'aria-label': mark[1], 'style': 'background:' + mark[2] }, [ mark[0] ]),
		E('span', { 'class': 'b4-words' }, [ text ])
	].concat(cures));
}

function section(title, content) {
	return E('div', { 'class': 'cbi-section' }, [ E('h3', {}, [ title ]) ].concat(content));
}

/* kept are the samples of the page before this one, in this tab of the browser. */
function kept() {
	try {
		return JSON.parse(window.sessionStorage.getItem(STORE)) || [];
	}
	catch (e) {
		return [];
	}
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load: function() {
		return Promise.all([ this.ask(), L.resolveDefault(uci.load('b4')) ]).then(L.bind(this.complete, this));
	},

	/* ask never fails: what is wrong is shown in place of the status. */
	ask: function() {
		return b4.call.status().then(function(status) { return { status: status } }, function(err) { return { error: err } });
	},

	/* complete adds what is configured, as far as it is asked for. */
	complete: function(replies) {
		const data = replies[0];
		const offload = data.status && data.status.health.some(function(f) { return /^(no_hellos|offload)/.test(f.code) });

		return (offload ? L.resolveDefault(uci.load('firewall')) : Promise.resolve()).then(function() {
			data.enabled = isEnabled();

			return data;
		});
	},

	refresh: function() {
		return this.ask().then(L.bind(function(data) {
			if (data.status)
				return this.complete([ data ]);

			uci.unload('b4');

			return L.resolveDefault(uci.load('b4')).then(L.bind(this.complete, this, [ data ]));
		}, this)).then(L.bind(this.show, this));
	},

	/* change rebuilds what is in a node if it is another, so that nothing loses the focus. */
	change: function(node, what, build) {
		const key = JSON.stringify(what);

		if (node.key !== key)
			dom.content(node, build());
		node.key = key;
	},

	/* show puts what is there now in the place of what was. */
	show: function(data) {
		const status = data.status, running = (status && status.enabled);
		let what = state(data);
		const on = (this.wanted != null) ? this.wanted : (status ? status.enabled : data.enabled);

		this.data = data;
		this.time = Date.now();

		if (this.wanted != null && (what == 'off' || what == 'dead') == this.wanted)
			what = this.wanted ? 'starting' : 'stopping';

		const words = headline(what, data);

		this.hero.style.setProperty('--b4-state', words[0]);
		this.change(this.words, words, function() { return [ E('h3', {}, [ words[1] ]), E('p', {}, [ words[2] ]) ] });
		this.lever.setAttribute('aria-checked', on ? 'true' : 'false');
		this.pause.style.display = /^(on|ill)$/.test(what) ? '' : 'none';
		this.resume.style.display = (what == 'paused') ? '' : 'none';
		this.log.style.display = (what == 'dead') ? '' : 'none';
		this.intro.style.display = (what == 'off') ? '' : 'none';
		this.details.style.display = running ? '' : 'none';
		if (running)
			this.showStatus(status);
	},

	showStatus: function(status) {
		const bad = status.health.filter(b4.weight), good = checks(status);
		const order = [ 'error', 'warning', 'info' ];

		bad.sort(function(a, b) { return order.indexOf(b4.weight(a)) - order.indexOf(b4.weight(b)) });
		this.change(this.findings, [ bad, uci.get('firewall', '@defaults[0]', 'flow_offloading_hw') ], L.bind(function() {
			const button = L.bind(function(text, handler) {
				return this.button('cbi-button-action', text, L.bind(this.act, this, handler));
			}, this);

			return bad.map(function(f) { return item(b4.weight(f), b4.finding(f), cures.cure(f, button)) });
		}, this));
		this.change(this.checks, good, function() { return good.map(function(c) { return item(c[0], c[1], []) }) });
		this.change(this.facts, [ status.engine && [ status.engine.name, status.engine.why, status.engine.uplink ], status.wan, status.version ],
			function() { return [ renderFacts(status) ] });
		this.change(this.rules, [ status.rules, this.known ], L.bind(function() { return [ renderRules(status.rules, this.known || []) ] }, this));
		if (!this.known && status.rules.some(function(rule) { return who(rule).length }))
			this.meet();
		this.showCharts(sample(status, Date.now()), status);
	},

	/* meet asks once what LuCI calls devices, which the page need not wait for. */
	meet: function() {
		this.known = [];
		devices.load().then(L.bind(function(known) {
			this.known = known;
			this.show(this.data);
		}, this));
	},

	showCharts: function(now, status) {
		this.samples = chart.push(this.samples, now);
		try {
			window.sessionStorage.setItem(STORE, JSON.stringify(this.samples));
		}
		catch (e) {
			// The charts begin anew on the next page then.
		}
		this.charts.opened.update(this.samples, _('%s since b4 started').format(b4.number(now.opened)));
		this.charts.failed.update(this.samples, status.engine && status.engine.name == 'nfqueue' && uci.get('b4', 'main', 'observe') != '1'
			? _('%s since b4 started, counting only sites that do not answer. Switch on Observe in the settings to count all.').format(b4.number(now.failed))
			: _('%s since b4 started').format(b4.number(now.failed)));
		this.charts.packets.update(this.samples, _('%s since b4 started; all others pass by b4').format(b4.number(now.packets)));
	},

	/* act does something, says what went wrong, and shows what has come of it. */
	act: function(fn) {
		return Promise.resolve().then(fn).catch(function(err) {
			ui.addNotification(null, E('p', { 'style': 'white-space:pre-line' }, [ err.reply ? b4.explain(err) : err.message ]), 'error');
		}).then(L.bind(this.refresh, this));
	},

	handlePause: function(minutes) {
		return this.act(function() { return b4.call.pause(minutes) });
	},

	handleReload: function() {
		return this.act(function() {
			return b4.call.reload().then(function() {
				ui.addNotification(null, E('p', {}, [ _('The configuration and all lists are read anew and in force.') ]), 'info');
			});
		});
	},

	/* settle waits until b4 is as it is wanted, for so many seconds. */
	settle: function(seconds) {
		return this.ask().then(L.bind(function(data) {
			const on = (data.status != null && data.status.enabled);

			if (on == this.wanted || seconds <= 0)
				return;

			return new Promise(function(resolve) { window.setTimeout(resolve, 1000) }).then(L.bind(this.settle, this, seconds - 1));
		}, this));
	},

	/* handleSwitch leaves the switch what it is while it waits, so that it keeps the focus. */
	handleSwitch: function() {
		const on = (this.lever.getAttribute('aria-checked') != 'true');

		if (this.wanted != null)
			return null;

		return this.act(L.bind(function() {
			return cures.commit(L.bind(function() {
				this.wanted = on;
				this.show(this.data);
				uci.set('b4', 'main', 'enabled', on ? '1' : '0');
			}, this)).then(L.bind(function(done) { return done ? this.settle(PATIENCE) : null }, this)).finally(L.bind(function() {
				this.wanted = null;
			}, this));
		}, this));
	},

	button: function(style, text, handler) {
		return E('button', {
			'class': 'btn cbi-button ' + style,
			'click': ui.createHandlerFn(this, handler),
			'disabled': L.hasViewPermission() ? null : true
		}, [ text ]);
	},

	render: function(data) {
		this.samples = kept();
		this.charts = {
			opened: chart.create('opened', { title: _('New connections'), unit: _('%s a minute'), per: 60000, span: 60000, colour: GREEN }),
			failed: chart.create('failed', { title: _('Failures'), unit: _('%s a minute'), per: 60000, span: 60000, colour: RED }),
			packets: chart.create('packets', { title: _('Packets shown to b4'), unit: _('%s a second'), per: 1000, span: 15000, colour: BLUE })
		};
		this.words = E('div', { 'class': 'b4-words', 'aria-live': 'polite' });
		this.lever = E('button', {
			'type': 'button', 'class': 'b4-switch', 'role': 'switch', 'aria-checked': 'false', 'aria-label': _('Switch b4 on or off'),
			'click': L.bind(this.handleSwitch, this), 'disabled': L.hasViewPermission() ? null : true
		});
		this.pause = this.button('cbi-button-neutral', _('Pause for %s minutes').format(b4.number(PAUSE)), L.bind(this.handlePause, this, PAUSE));
		this.resume = this.button('cbi-button-positive', _('Go on'), L.bind(this.handlePause, this, 0));
		this.log = cures.link(_('Log'), 'admin/services/b4/log');
		this.hero = E('div', { 'class': 'b4-card b4-hero b4-row' }, [ this.lever, this.words, this.pause, this.resume, this.log ]);
		this.intro = section(_('What it does'), [ E('ul', { 'class': 'b4-list' }, [
			_('Only the first packets of each connection go through b4. All others stay as fast as they are.'),
			_('The rules say which sites and which devices it is for. As they come, that is all of them.'),
			_('It can be paused or switched off at any time. Switched off, it leaves nothing behind.')
		].map(function(text) { return item('info', text, []) })) ]);
		this.findings = E('ul', { 'class': 'b4-list b4-bad', 'aria-live': 'polite' });
		this.checks = E('ul', { 'class': 'b4-list b4-good' });
		this.facts = E('div');
		this.rules = E('div');
		this.details = E('div', {}, [
			section(_('Health'), [ this.findings, this.checks ]),
			E('div', { 'class': 'b4-cards' }, [ this.charts.opened.node, this.charts.failed.node, this.charts.packets.node ]),
			section(_('Rules in force'), [
				this.rules,
				E('div', { 'style': 'text-align:end;margin-top:.5em' }, [ this.button('cbi-button-neutral', _('Reload configuration and lists'), L.bind(this.handleReload, this)) ])
			]),
			section(_('About'), [ this.facts ])
		]);
		this.show(data);
		poll.add(L.bind(function() {
			// Neither while the switch waits, nor at once, as LuCI would.
			return (this.wanted == null && Date.now() - this.time > YOUNG) ? this.refresh() : null;
		}, this), EVERY);

		return E('div', { 'dir': b4.direction() }, [
			E('style', {}, [ b4.SIDES + CSS ]),
			E('h2', {}, [ 'b4' ]),
			E('div', { 'class': 'cbi-map-descr' }, [ _('b4 opens sites that the provider blocks by their name.') ]),
			this.hero,
			this.intro,
			this.details
		]);
	}
});
