'use strict';
'require view';
'require dom';
'require poll';
'require ui';
'require uci';
'require b4.common as b4';
'require b4.devices as devices';
'require b4.entry as entry';

/*
 * The hosts seen last. Their names are written by whoever opens a connection: they
 * are shown as texts without what is unseen, and isolated from the text around.
 */

const EVERY = 3; // seconds between looks
const WATCH = 60; // seconds that a host is watched
const NEVER = 'never';
const MATCH = [ 'domain', 'prefix', 'domain_file' ];

const SMALL = 'font-size:90%;opacity:.8;' + b4.BREAKING;
const BELOW = 'scroll-margin-top:5em'; // of a theme's bar that stays at the top
const WIDE = 'flex-basis:100%;max-width:none'; // of cells, where a phone shows rows as blocks

/* What the outcomes b4 knows mean to people; others mean nothing yet. */
const GOOD = [ 'opened', 'through' ];
const BAD = [ 'reset', 'forged', 'closed', 'silent', 'redirect', 'frozen' ];

function group(host) {
	return (GOOD.indexOf(host.outcome) >= 0) ? 'good' : (BAD.indexOf(host.outcome) >= 0) ? 'bad' : 'open';
}

function bdi(text, max) {
	const full = entry.plain(text, 512), shown = entry.plain(text, max);

	return E('bdi', { 'style': b4.BREAKING, 'title': (shown == full) ? null : full }, [ shown ]);
}

function small(content) {
	return E('div', { 'style': SMALL }, content);
}

/* fits tells whether a host is one of those that are looked for. */
function fits(host, who, words, kind) {
	const text = [ host.host, who, host.device, host.rule, host.strategy ].join(' ').toLowerCase();

	return (!kind || group(host) == kind) && words.toLowerCase().split(/\s+/).every(function(word) { return text.indexOf(word) >= 0 });
}

function badge(host) {
	const kind = group(host);

	return host.outcome ? E('span', { 'class': 'label ' + ((kind == 'good') ? 'success' : (kind == 'bad') ? 'warning' : ''), 'style': 'margin:0;display:inline-block;white-space:normal' }, [
		b4.outcome(host.outcome)
	]) : '';
}

/* cells are the contents of a row: all but the buttons. */
function cells(host, who) {
	return [
		[ E('strong', {}, [ bdi(host.host) ]), who ? small([ E('span', { 'title': host.device }, [ bdi(who, 40) ]) ]) : '' ],
		[ host.rule ? bdi(host.rule, 40) : '-', host.strategy ? small([ bdi(host.strategy) ]) : '' ],
		[ badge(host), small([ b4.deed(host.why) ]) ],
		[ b4.number(host.hellos), host.again ? small([ _('%s sent again').format(b4.number(host.again)) ]) : '',
			host.strategy ? small([ _('%s answered').format(b4.number(host.answered)) ]) : '' ],
		[ b4.clock(host.time) ]
	];
}

/* Rules that say what they are for: a name added to another would narrow it. */
function openRules() {
	return uci.sections('b4', 'rule').filter(function(section) {
		return MATCH.some(function(option) { return entry.array(section[option]).length > 0 })
			&& entry.array(section.domain).indexOf('*') < 0;
	}).map(function(section) { return section['.name'] });
}

function isTaken(name) {
	return uci.get('b4', name) != null;
}

/*
 * addRule makes a rule ahead of all others but the one of what is never touched. A
 * file without rules treats all names: the first rule would end that.
 */
function addRule(name, options) {
	const all = uci.sections('b4', 'rule').map(function(section) { return section['.name'] });
	const before = all.filter(function(sid) { return sid != NEVER })[0];

	if (!all.length) {
		const rest = uci.add('b4', 'rule', entry.label('all', isTaken));

		uci.set('b4', rest, 'strategy', 'default');
		uci.set('b4', rest, 'action', 'desync');
		all.push(rest);
	}

	const sid = uci.add('b4', 'rule', entry.label(name, isTaken));

	Object.keys(options).forEach(function(option) { uci.set('b4', sid, option, options[option]) });
	uci.move('b4', sid, (name == NEVER) ? all[0] : before || all[0], false);

	return sid;
}

/* addName puts a name where the rule lists such, and out of what it excludes: false where that changes nothing. */
function addName(sid, name) {
	const option = entry.parse(name).kind;
	const list = entry.array(uci.get('b4', sid, option)), not = entry.array(uci.get('b4', sid, 'not'));
	const isNew = list.indexOf(name) < 0, isExcluded = not.indexOf(name) >= 0;

	if (isNew)
		uci.set('b4', sid, option, list.concat(name));
	if (isExcluded)
		uci.set('b4', sid, 'not', not.filter(function(other) { return other != name }));

	return isNew || isExcluded;
}

/* neverRule is the rule of what is never touched, which may have to be made. */
function neverRule() {
	const there = uci.get('b4', NEVER);

	return (there && there['.type'] == 'rule' && there.action == 'pass') ? NEVER : addRule(NEVER, { action: 'pass' });
}

function choices(id, pairs) {
	return E('select', { 'id': id, 'class': 'cbi-input-select' }, pairs.map(function(pair) {
		return E('option', { 'value': pair[0] }, [ pair[1] ]);
	}));
}

function value(id, title, node) {
	return E('div', { 'class': 'cbi-value' }, [
		E('label', { 'class': 'cbi-value-title', 'for': id }, [ title ]), E('div', { 'class': 'cbi-value-field' }, [ node ])
	]);
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load: function() {
		return Promise.all([ this.fetchAll(), devices.load() ]);
	},

	/* fetchAll never fails: what is wrong is shown in place of the hosts. */
	fetchAll: function() {
		return Promise.all([ b4.call.recent(), this.watched ? L.resolveDefault(b4.call.trace()) : null ]).then(function(replies) {
			return { hosts: replies[0].hosts, trace: replies[1] };
		}, function(err) {
			return { error: err };
		});
	},

	who: function(host) {
		return host.device ? devices.called(this.known, host.device) : '';
	},

	button: function(text, handler, host, disabled) {
		return E('button', {
			'class': 'btn cbi-button cbi-button-neutral', 'type': 'button', 'style': 'flex:none;font-size:90%;padding:0 .6em;margin:0',
			'click': ui.createHandlerFn(this, handler, host), 'disabled': (disabled || !L.hasViewPermission()) ? true : null
		}, [ text ]);
	},

	makeRow: function(host) {
		const none = !entry.names(host.host).length;
		const titles = this.titles;
		const row = E('tr', { 'class': 'tr' }, titles.map(function(title, i) {
			return E('td', { 'class': 'td', 'data-title': title || null, 'style': (i % 5 == 0) ? WIDE : (i == 4) ? 'white-space:nowrap' : null });
		}));

		dom.content(row.lastElementChild, [ E('div', { 'style': 'display:flex;flex-wrap:wrap;gap:.3em;min-width:20em' }, [
			this.button(_('Add to a rule…'), 'handleAdd', host.host, none),
			this.button(_('Never touch…'), 'handleNever', host.host, none),
			this.button(_('Watch'), 'handleWatch', host.host, none)
		]) ]);

		return row;
	},

	/* calm tells whether somebody is about to press something, which must not move. */
	calm: function() {
		return this.body.contains(document.activeElement) || (window.matchMedia('(hover: hover)').matches && this.body.matches(':hover'));
	},

	/* show updates the rows there are, and puts them in order unless that disturbs. */
	show: function(data) {
		const words = this.words.value.trim(), kind = this.kind.value;
		const calm = this.calm();
		const left = {};
		let shown = 0;

		this.data = data;
		dom.content(this.errors, data.error ? [ b4.notice(b4.isStopped(data.error) ? 'info' : 'error',
			b4.isStopped(data.error) ? _('b4 is not running: there is nothing to see.') : b4.explain(data.error)) ] : []);

		(data.hosts || []).forEach(function(host, i) {
			const key = 'host ' + host.host, who = this.who(host);
			const row = left[key] = this.rows[key] || this.makeRow(host);

			cells(host, who).forEach(function(cell, j) { dom.content(row.childNodes[j], cell) });
			row.style.display = fits(host, who, words, kind) ? '' : 'none';
			shown += (row.style.display == '') ? 1 : 0;

			if (!row.parentNode || (!calm && this.body.childNodes[i] !== row))
				this.body.insertBefore(row, calm ? null : this.body.childNodes[i] || null);
		}, this);

		Object.keys(this.rows).forEach(function(key) {
			if (!left[key])
				this.body.removeChild(this.rows[key]);
		}, this);

		this.rows = left;
		this.table.style.display = shown ? '' : 'none';
		dom.content(this.count, data.hosts ? [ _('%s of %s hosts').format(b4.number(shown), b4.number(data.hosts.length)) ] : []);
		dom.content(this.empty, (shown || data.error) ? []
			: [ E('em', {}, [ data.hosts.length ? _('No host is like that.') : _('No connection has come by yet. Open a page on a device behind this router.') ]) ]);

		if (data.trace && this.watched)
			this.showTrace(data.trace);
	},

	/* showTrace adds what is new below what is there, which keeps its place and the focus. */
	showTrace: function(trace) {
		const mine = (trace.host == this.watched), list = this.events;
		const events = mine ? trace.events : [];
		const atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 4;

		if (mine && !trace.running)
			this.watched = null;

		dom.content(this.title, [ _('Connections to %s').format(entry.quote(trace.host)) ]);
		dom.content(this.hint, [ this.watched ? _('Open it on a device now: what happens is shown here for %s seconds.').format(b4.number(WATCH)) : _('That was all.') ]);
		this.trace.style.display = '';
		if (events.length < list.childNodes.length)
			dom.content(list, []); // of another trace

		events.slice(list.childNodes.length).forEach(function(event) {
			list.appendChild(E('li', {}, [
				'%s · %s · %s'.format(b4.clock(event.time), event.proto.toUpperCase(), b4.deed(event.why)),
				small([ bdi(event.flow, 120) ]),
				E('ul', {}, (event.packets || []).map(function(packet) { return E('li', {}, [ small([ b4.packet(entry.plain(packet, 160)) ]) ]) }))
			]));
		});

		if (atEnd)
			list.scrollTop = list.scrollHeight;
	},

	refresh: function() {
		return this.fetchAll().then(L.bind(this.show, this));
	},

	handleWatch: function(host) {
		return b4.call.trace(host, WATCH).then(L.bind(function(trace) {
			this.watched = trace.host;
			this.showTrace(trace);
			this.trace.scrollIntoView({ block: 'nearest' });
		}, this)).catch(L.bind(this.tell, this));
	},

	handleClose: function() {
		this.watched = null;
		this.trace.style.display = 'none';
	},

	/* note shows a notice where it is seen, wherever the page has been scrolled to. */
	note: function(notice) {
		dom.content(this.notices, [ notice ]);
		this.notices.scrollIntoView({ block: 'nearest' });
	},

	tell: function(err) {
		this.note(b4.notice('error', b4.explain(err)));
	},

	/* ask lets one choose the name, and whatever else, in a modal; keys go on behind it. */
	ask: function(title, text, host, fields, act, ev) {
		const by = (ev && ev.detail == 0) ? ev.currentTarget : null;
		const done = function() {
			ui.hideModal();

			if (by)
				by.focus({ preventScroll: true });
		};
		const names = entry.names(host).map(function(name) { return [ name, entry.plain(name, 60) ] });
		const name = choices('b4-name', names.reverse());

		ui.showModal(title, [
			E('p', {}, [ text ]),
			value('b4-name', _('Name, and all names below it'), name)
		].concat(fields, E('div', { 'class': 'right' }, [
			E('button', { 'class': 'btn cbi-button', 'click': done }, [ _('Dismiss') ]), ' ',
			E('button', { 'class': 'btn cbi-button cbi-button-positive important', 'click': ui.createHandlerFn(this, function() {
				return this.save(name.value, act(name.value)).then(done);
			}) }, [ _('Save') ])
		])));
		name.focus();
	},

	/* fresh is the configuration with the changes that wait to be applied. */
	fresh: function() {
		uci.unload('b4');

		return uci.load('b4');
	},

	save: function(name, sid) {
		if (!addName(sid, name)) {
			this.note(b4.notice('info', _('Rule %s has %s already.').format(entry.quote(sid), entry.quote(name))));

			return Promise.resolve();
		}

		return uci.save().then(L.bind(function() {
			const note = b4.notice('success', _('Rule %s now has %s. Press Save & Apply to put it in force.').format(entry.quote(sid), entry.quote(name)));

			note.appendChild(E('button', {
				'class': 'btn cbi-button cbi-button-apply', 'type': 'button', 'click': function() { ui.changes.apply(true) }
			}, [ _('Save & Apply') ]));
			this.note(note);
		}, this)).catch(L.bind(this.tell, this));
	},

	handleAdd: function(host, ev) {
		const by = { detail: ev.detail, currentTarget: ev.currentTarget };

		return this.fresh().then(L.bind(function() {
			const words = b4.actions(), does = function(sid) { return uci.get('b4', sid, 'action') || 'desync' };
			const rules = openRules();
			const rule = choices('b4-rule', rules.map(function(sid) {
				return [ sid, '%s (%s)'.format(sid, words[does(sid)] || does(sid)) ];
			}).concat([ [ '', _('A new rule') ] ]));
			const strategies = [ [ 'default', 'default' ], [ 'auto', 'auto' ] ].concat(uci.sections('b4', 'strategy').map(function(section) {
				return [ section['.name'], section['.name'] ];
			}).filter(function(pair) { return pair[0] != 'default' }));
			const strategy = choices('b4-strategy', strategies);
			const how = value('b4-strategy', _('Strategy'), strategy);
			const update = function() { how.style.display = rule.value ? 'none' : '' };

			// Who adds a site wants it open.
			rule.value = rules.find(function(sid) { return does(sid) == 'desync' }) || '';
			rule.addEventListener('change', update);
			update();

			this.ask(_('Add to a rule'), _('The rule is then for this name too.'), host, [ value('b4-rule', _('Rule'), rule), how ], function(name) {
				return rule.value || addRule(name, { strategy: strategy.value, action: 'desync' });
			}, by);
		}, this)).catch(L.bind(this.tell, this));
	},

	handleNever: function(host, ev) {
		const by = { detail: ev.detail, currentTarget: ev.currentTarget };

		return this.fresh().then(L.bind(function() {
			this.ask(_('Never touch'), _('b4 then leaves all connections to this name alone, ahead of all other rules.'), host, [], neverRule, by);
		}, this)).catch(L.bind(this.tell, this));
	},

	render: function(data) {
		const again = L.bind(function() { this.show(this.data) }, this);

		this.known = data[1];
		this.rows = {};
		this.titles = [ _('Host'), _('Rule'), _('What happened'), _('Connections'), _('Last seen'), '' ];
		this.errors = E('div', { 'aria-live': 'polite' });
		this.notices = E('div', { 'aria-live': 'polite', 'style': BELOW });
		this.title = E('h3');
		this.hint = E('p');
		this.events = E('ol', { 'class': 'b4-steps', 'tabindex': '0', 'style': 'max-height:50vh;overflow-y:auto' });
		this.trace = E('div', { 'class': 'cbi-section', 'aria-live': 'polite', 'style': 'display:none;' + BELOW }, [
			this.title, this.hint, this.events,
			E('button', { 'class': 'btn cbi-button', 'type': 'button', 'click': L.bind(this.handleClose, this) }, [ _('Close') ])
		]);
		this.count = E('span', { 'style': 'opacity:.8' });
		this.empty = E('p');
		this.words = E('input', {
			'id': 'b4-words', 'type': 'text', 'class': 'cbi-input-text', 'style': 'flex:1 1 8em;min-width:0;max-width:16em',
			'placeholder': _('Host, device or rule'), 'input': again
		});
		this.kind = choices('b4-kind', [
			[ '', _('All outcomes') ], [ 'good', _('Opened') ], [ 'bad', _('Did not open') ], [ 'open', _('Not known') ]
		]);
		this.kind.addEventListener('change', again);
		this.body = E('tbody', { 'class': 'tbody' });
		this.table = E('table', { 'class': 'table' }, [
			E('thead', { 'class': 'thead' }, [ E('tr', { 'class': 'tr table-titles' }, this.titles.map(function(title) {
				return E('th', { 'class': 'th' }, [ title ]);
			})) ]),
			this.body
		]);

		const page = E('div', { 'dir': b4.direction() }, [
			E('style', {}, [ b4.SIDES ]),
			E('h2', {}, [ _('Activity') ]),
			E('div', { 'class': 'cbi-map-descr' }, [ _('The last hosts that devices opened connections to, and what became of them.') ]),
			this.errors, this.notices, this.trace,
			E('div', { 'style': 'display:flex;flex-wrap:wrap;gap:.5em;align-items:center;margin:.5em 0' }, [
				E('label', { 'for': 'b4-words', 'style': 'flex:none;float:none;width:auto;margin:0' }, [ _('Show') ]), this.words,
				E('label', { 'for': 'b4-kind', 'style': 'position:absolute;clip-path:inset(50%);width:1px;height:1px;overflow:hidden' }, [ _('Outcome') ]), this.kind, this.count
			]),
			this.table, this.empty
		]);

		this.show(data[0]);
		poll.add(L.bind(this.refresh, this), EVERY);

		return page;
	}
});
