'use strict';
'require view';
'require dom';
'require form';
'require ui';
'require uci';
'require b4.common as b4';
'require b4.devices as devices';
'require b4.entry as entry';
'require b4.names as naming';

/*
 * The rules in their order, and what they would do with a host. Names in rules are
 * the user's, those of devices are the devices' own: all of them become texts.
 */

const MATCH = [ 'domain', 'prefix', 'domain_file' ];
const WHO = [ 'mac', 'source', 'interface' ];
const SHOWN = 3; // entries of a list in the table
const MAX_STRATEGY = 1024; // bytes, as in the schema

const SMALL = 'font-size:90%;opacity:.8';
/* Buttons of a sign leave their room on a phone to those of a word. */
const SIGNS = '.td.cbi-section-actions>div>.cbi-button-neutral,.td.cbi-section-actions>div>.drag-handle{flex:0 1 44px}';
const WARNING = 'border-inline-start:3px solid var(--warn-color-medium, #f0ad4e);padding-inline-start:.5em';
const WRONG = 'color:var(--error-color-high, #c33)';

function values(sid, options) {
	return options.reduce(function(list, option) {
		return list.concat(entry.array(uci.get('b4', sid, option)));
	}, []);
}

/* takesAll tells whether no later rule ever gets anything. */
function takesAll(sid) {
	const names = values(sid, MATCH);

	return (!names.length || names.indexOf('*') >= 0) && !values(sid, WHO.concat('not', 'port')).length;
}

function ruleNames() {
	return uci.sections('b4', 'rule').map(function(section) { return section['.name'] });
}

function bdi(text) {
	return E('bdi', { 'style': b4.BREAKING }, [ entry.plain(text) ]);
}

/* shortList is the first few texts a line each, and how many more there are. */
function shortList(texts) {
	const lines = texts.slice(0, SHOWN).map(function(text) { return E('div', {}, [ bdi(text) ]) });

	if (texts.length > SHOWN)
		lines.push(E('div', { 'style': SMALL }, [ _('and %d more').format(texts.length - SHOWN) ]));

	return lines;
}

/*
 * Entries is a list of which each entry is read as it is added: shown is what it
 * was read as, and several may be pasted at once. What cannot be read stays in the
 * field, unless the file has it.
 */
const Entries = ui.DynamicList.extend({
	addItem: function(dl, value, text, flash) {
		const wrong = [];

		entry.pieces(value).forEach(function(piece) {
			const found = this.options.read(piece), kept = found.error ? piece : found.value;

			if (found.error && flash)
				wrong.push(piece);
			else
				this.super('addItem', [ dl, kept, bdi(this.options.caption ? this.options.caption(kept) : kept), flash ]);
		}, this);

		if (wrong.length)
			window.setTimeout(L.bind(this.giveBack, this, dl, wrong.join(' ')), 0);
	},

	giveBack: function(dl, text) {
		const input = dl.querySelector('.add-item > input');

		this.options.validate(text);

		if (input) {
			input.value = text;
			input.dispatchEvent(new CustomEvent('keyup'));
		}
	}
});

/* hinted puts below a widget where it is said what is wrong with its value. */
function hinted(widget) {
	const hint = E('div', { 'role': 'alert', 'style': WRONG });

	return { node: E([], [ widget, hint ]), say: function(text) { dom.content(hint, text ? [ text ] : []) } };
}

/* EntryList is an option whose values go to several options of UCI, as read says. */
const EntryList = form.DynamicList.extend({
	load: function(sid) {
		const list = values(sid, this.targets);

		return list.length ? list : null;
	},

	renderWidget: function(sid, index, cfgvalue) {
		let say = null, typed = null;
		const validate = L.bind(function(text) {
			const wrong = entry.pieces(text || (typed ? typed.value : '')).map(this.read).filter(function(found) { return found.error })[0];

			if (say)
				say(wrong && wrong.error);

			return wrong ? wrong.error : true;
		}, this);
		const widget = new Entries(entry.array(cfgvalue), this.transformChoices(), {
			id: this.cbid(sid),
			sort: this.keylist,
			optional: true,
			placeholder: this.placeholder,
			custom_placeholder: this.custom,
			validate: validate,
			disabled: this.map.readonly,
			read: this.read,
			caption: this.caption
		});

		const node = widget.render(), both = hinted(node);

		typed = node.querySelector('.add-item > input, .create-item-input');
		typed.addEventListener('input', function() { typed.dispatchEvent(new CustomEvent('keyup')) });
		say = both.say;

		return both.node;
	},

	write: function(sid, list) {
		const texts = entry.array(list).reduce(function(all, text) { return all.concat(entry.pieces(text)) }, []);
		const lists = entry.divide(texts, this.targets, this.read);

		this.targets.forEach(function(option) {
			uci.set('b4', sid, option, lists[option].length ? lists[option] : null);
		});
	},

	remove: function(sid) {
		this.targets.forEach(function(option) { uci.unset('b4', sid, option) });
	}
});

/* readName reads an exclusion: names alone. */
function readName(text) {
	const found = entry.parse(text);

	return (found.error || (found.kind == 'domain' && found.value != '*')) ? found : { error: _('Write a name such as example.org.') };
}

function readPort(text) {
	return (/^[1-9]\d{0,4}$/.test(text) && +text <= 65535) ? { kind: 'port', value: text } : { error: _('Write a port: a number from 1 to 65535.') };
}

/* deed is in a few words what a rule does. */
function deed(sid) {
	const action = uci.get('b4', sid, 'action') || 'desync';
	const quic = uci.get('b4', sid, 'quic') || action;
	const words = b4.actions();
	const lines = [ E('div', {}, [ words[action] || action ]) ];

	if (action == 'desync')
		lines.push(E('div', { 'style': SMALL }, [ bdi(uci.get('b4', sid, 'strategy') || 'default') ]));
	if (quic != action)
		lines.push(E('div', { 'style': SMALL }, [ _('QUIC: %s').format(words[quic] || quic) ]));

	return lines;
}

/*
 * Rules is a grid whose order keys can change as well, and clicks on titles cannot. Some
 * themes would say on a phone below each value what it stands for.
 */
const Rules = form.GridSection.extend({
	handleSort: function() {},

	renderContents: function() {
		const node = this.super('renderContents', arguments);

		window.setTimeout(L.bind(this.mark, this), 0);
		node.querySelectorAll('td[data-description]').forEach(function(td) { td.removeAttribute('data-description') });

		return node;
	},

	renderHeaderRows: function() {
		const rows = this.super('renderHeaderRows', arguments);

		rows.querySelectorAll('[data-sortable-row]').forEach(function(th) { th.removeAttribute('data-sortable-row') });

		return rows;
	},

	renderRowActions: function(sid) {
		const td = this.super('renderRowActions', arguments);
		const mover = L.bind(function(text, sign, up) {
			return E('button', {
				'class': 'btn cbi-button cbi-button-neutral', 'type': 'button', 'title': text, 'aria-label': text,
				'click': L.bind(this.handleMove, this, sid, up), 'disabled': this.map.readonly || null
			}, [ sign ]);
		}, this);

		dom.content(td.lastElementChild, [ mover(_('Move up'), '↑', true), mover(_('Move down'), '↓', false) ]
			.concat(Array.from(td.lastElementChild.childNodes)));

		return td;
	},

	/* handleMove swaps a row with its neighbour, and leaves the focus where it was. */
	handleMove: function(sid, up, ev) {
		const row = dom.parent(ev.currentTarget, '.tr'), button = ev.currentTarget;
		const other = up ? row.previousElementSibling : row.nextElementSibling;

		ev.preventDefault();

		if (!other || !other.hasAttribute('data-sid'))
			return;

		uci.move('b4', sid, other.getAttribute('data-sid'), !up);
		row.parentNode.insertBefore(row, up ? other : other.nextElementSibling);
		button.focus();
		this.mark();
	},

	handleDrop: function() {
		const stop = this.super('handleDrop', arguments);

		this.mark();

		return stop;
	},

	handleTouchEnd: function() {
		this.super('handleTouchEnd', arguments);
		this.mark();
	},

	/* saveOrder is done ahead of what may delete something: LuCI would forget the order then. */
	saveOrder: function() {
		return this.map.addedSection ? Promise.resolve() : uci.save();
	},

	handleRemove: function(sid, ev) {
		return this.saveOrder().then(L.bind(function() { return this.super('handleRemove', [ sid, ev ]) }, this));
	},

	handleModalSave: function(map, ev) {
		this.renames = {};

		return this.saveOrder().then(L.bind(function() { return this.super('handleModalSave', [ map, ev ]) }, this));
	},

	/* handleModalCancel is called as well when all but the new name of the rule has been saved. */
	handleModalCancel: function(map, ev, isSaved) {
		const m = this.map, done = L.bind(function() { return this.super('handleModalCancel', [ map, ev, isSaved ]) }, this);

		if (!isSaved || !Object.keys(this.renames).length)
			return done();

		return naming.save(this.renames).then(function() { return m.load() }).then(function() { return m.reset() }).catch(function(err) {
			ui.addNotification(null, E('p', {}, [ err.message ]), 'error');
		}).then(done);
	},

	/* mark tells of rules that no name ever comes to; to those for networks what has none may. */
	mark: function() {
		let taker = null;

		ruleNames().forEach(function(sid) {
			const note = document.getElementById('b4-unreached-' + sid);

			if (note)
				dom.content(note, (taker && !values(sid, [ 'prefix' ]).length) ? [ E('div', { 'style': WARNING }, [ _('Never reached: rule %s above takes everything.').format(entry.quote(taker)) ]) ] : []);
			if (!taker && takesAll(sid))
				taker = sid;
		});
	},

	renderSectionPlaceholder: function() {
		return E('em', {}, [ _('There is no rule, so b4 treats all names by the strategy default.') ]);
	},

	/* renderSectionAdd is one field for what the new rule is for. */
	renderSectionAdd: function() {
		const hint = E('div', { 'role': 'alert', 'style': 'flex:0 0 100%;margin:0;' + WRONG });
		const field = E('input', {
			'id': 'b4-new', 'type': 'text', 'class': 'cbi-input-text', 'placeholder': 'youtube.com', 'autocomplete': 'off',
			'autocapitalize': 'off', 'spellcheck': 'false', 'style': 'flex:1 1 8em;min-width:0;max-width:20em', 'disabled': this.map.readonly || null
		});
		const add = L.bind(function(ev) {
			const texts = entry.pieces(field.value);
			const wrong = texts.map(entry.parse).filter(function(found) { return found.error })[0];

			dom.content(hint, wrong ? [ wrong.error ] : []);

			return wrong ? field.focus() : this.handleAdd(ev, texts);
		}, this);
		const button = E('button', {
			'class': 'btn cbi-button cbi-button-add', 'type': 'button', 'style': 'flex:none', 'click': ui.createHandlerFn(this, add),
			'disabled': this.map.readonly || null
		}, [ _('Add rule') ]);

		field.addEventListener('keydown', function(ev) {
			if (ev.key == 'Enter') {
				ev.preventDefault();
				button.click();
			}
		});

		return E('div', { 'class': 'cbi-section-create', 'style': 'display:flex;flex-wrap:wrap;gap:.5em;align-items:center;margin:0;padding:0 0 10px' }, [
			E('label', { 'for': 'b4-new', 'style': 'flex:none;float:none;width:auto;margin:0' }, [ _('New rule for') ]), field, button, hint
		]);
	},

	/* handleAdd puts the new rule before those that take everything. */
	handleAdd: function(ev, texts) {
		const before = ruleNames().filter(takesAll)[0];
		const sid = uci.add('b4', 'rule', entry.label(texts[0] || '', function(name) { return uci.get('b4', name) != null }));
		const lists = entry.divide(texts, MATCH, entry.parse);

		MATCH.forEach(function(option) {
			if (lists[option].length)
				uci.set('b4', sid, option, lists[option]);
		});

		if (before && texts.length)
			uci.move('b4', sid, before, false);

		this.map.addedSection = sid;

		return this.renderMoreOptionsModal(sid);
	}
});

/* Hinted is an option below which it is said what is wrong with its value. */
const Hinted = form.Value.extend({
	renderWidget: function() {
		const both = hinted(this.super('renderWidget', arguments));

		this.say = both.say;

		return both.node;
	},

	validate: function(sid, text) {
		const wrong = this.wrong(sid, String(text || '').trim());

		if (this.say)
			this.say(wrong);

		return wrong || true;
	}
});

/* Name is a rule's own. */
const Name = Hinted.extend({
	cfgvalue: function(sid) { return sid },

	wrong: function(sid, name) {
		return name == sid ? '' : naming.wrong(name, uci.get('b4', name) != null);
	}
});

/*
 * Strategy is an option that asks b4d about a text, once, and is validated anew when
 * it knows. Without b4d any text will do: it is checked when it is to take effect.
 */
const Strategy = Hinted.extend({
	known: {},

	wrong: function(sid, text) {
		const known = [ '', 'auto', 'default' ].concat(uci.sections('b4', 'strategy').map(function(section) { return section['.name'] }));

		if (entry.size(text) > MAX_STRATEGY)
			return _('This strategy is too long: it has at most %d bytes.').format(MAX_STRATEGY);
		if (known.indexOf(text) >= 0)
			return null;
		if (/^[\w-]+$/.test(text))
			return _('There is no strategy %s.').format(text);
		if (this.known[text] === undefined) {
			this.known[text] = null;
			L.resolveDefault(b4.call.preview('tls', text), {}).then(L.bind(function(reply) {
				if (reply.error)
					this.known[text] = _('This is neither one of your strategies nor the text of one: %s').format(entry.plain(reply.error.text, 200));

				this.triggerValidation(sid);
			}, this));
		}

		return this.known[text];
	}
});

/* stepText says in a sentence how a rule was passed by, or not, by a name or an address. */
function stepText(step, address, known) {
	const who = (step.why == 'devices') ? values(step.rule, WHO).map(function(text) { return devices.called(known, text) }) : [];
	const rule = entry.quote(step.rule), by = entry.quote(who.join(', ') || step.by);

	switch (step.why) {
	case 'matches':
		if (step.rule == 'main.never')
			return _('The file of hosts that are never touched has %s.').format(by);

		return (step.by == '*') ? _('Rule %s matches: it is for all names.').format(rule)
			: _('Rule %s matches: it is for %s.').format(rule, by);
	case 'excluded':
		return _('Rule %s does not match: it excludes %s.').format(rule, by);
	case 'no_name':
		return address ? _('Rule %s does not match: it is for names, and an address has none.').format(rule)
			: _('Rule %s does not match: none of its names stands for this host.').format(rule);
	case 'devices':
		return values(step.rule, [ 'interface' ]).length
			? _('Rule %s is for devices behind an interface (%s): which are there is not known here.').format(rule, by)
			: _('Rule %s does not match: it is for other devices (%s).').format(rule, by);
	case 'ports':
		return _('Rule %s does not match: it is for other ports (%s).').format(rule, by);
	case 'prefix':
		return address ? _('Rule %s does not match: it is for other networks (%s).').format(rule, by)
			: _('Rule %s matches only if the address of the host is in %s.').format(rule, by);
	}

	return _('Rule %s does not match.').format(rule);
}

/* treatText says what is done with one kind of message. */
function treatText(kind, action, text) {
	switch (action) {
	case 'pass':
		return _('%s is left alone.').format(kind);
	case 'drop':
		return _('%s is blocked without a word.').format(kind);
	case 'reject':
		return _('%s is blocked, and the device is told.').format(kind);
	}

	return text ? _('%s is changed: %s').format(kind, '\u2068' + text + '\u2069')
		: _('%s is left as it is, as the strategy has nothing for it.').format(kind);
}

/* endNodes are what comes of the steps. */
function endNodes(test) {
	const kinds = [ [ 'HTTPS', test.action, test.tls ], [ 'QUIC', test.quic_action, test.quic ] ];

	if (!test.rule)
		return [ E('p', {}, [ _('No rule matches: b4 leaves this host alone.') ]) ];
	if (test.action == 'pass' && test.quic_action == 'pass')
		return [ E('p', {}, [ _('b4 leaves all connections to this host alone.') ]) ];
	if (test.http || (test.action != 'desync' && test.action != 'pass'))
		kinds.push([ 'HTTP', test.action, test.http ]);

	return [
		test.strategy ? E('p', {}, [ _('b4 applies the strategy %s:').format(entry.quote(test.strategy)) ]) : '',
		E('ul', { 'class': 'b4-steps' }, kinds.map(function(kind) { return E('li', {}, [ treatText.apply(null, kind) ]) }))
	];
}

function resultNodes(test, known) {
	const address = entry.parse(test.host).kind == 'prefix';

	return [ E('ol', { 'class': 'b4-steps' }, test.steps.map(function(step) {
		return E('li', { 'style': (step.why == 'matches') ? 'font-weight:bold' : null }, [ stepText(step, address, known) ]);
	})) ].concat(endNodes(test));
}

function field(id, title, node, description) {
	node.id = id;

	return E('div', { 'class': 'cbi-value' }, [
		E('label', { 'class': 'cbi-value-title', 'for': id }, [ title ]),
		E('div', { 'class': 'cbi-value-field' }, [ node, description ? E('div', { 'class': 'cbi-value-description' }, [ description ]) : '' ])
	]);
}

/* renderTester is the question what happens to a host, and the answer. */
function renderTester(known) {
	const host = E('input', { 'type': 'text', 'class': 'cbi-input-text', 'placeholder': 'www.youtube.com', 'autocomplete': 'off', 'autocapitalize': 'off', 'spellcheck': 'false' });
	const device = E('select', { 'class': 'cbi-input-select' }, [ E('option', { 'value': '' }, [ _('Any other device') ]) ].concat(known.map(function(d) {
		return E('option', { 'value': d.mac }, [ devices.title(d) ]);
	})));
	const port = E('input', { 'type': 'text', 'class': 'cbi-input-text', 'inputmode': 'numeric', 'autocomplete': 'off', 'placeholder': '443' });
	const answer = E('div', { 'aria-live': 'polite' });
	const button = E('button', { 'class': 'btn cbi-button cbi-button-action', 'type': 'submit' }, [ _('Test') ]);

	const ask = function(ev) {
		const found = entry.parse(host.value), who = devices.find(known, device.value), to = port.value.trim();
		const wrong = to ? readPort(to).error : null;

		ev.preventDefault();

		if (wrong)
			return dom.content(answer, [ b4.notice('warning', wrong) ]);
		if (found.error || found.kind == 'domain_file' || /[*/]/.test(found.value))
			return dom.content(answer, [ b4.notice('warning', found.error || _('Write one name such as example.org, or one address.')) ]);

		button.disabled = true;

		return b4.call.testHost(found.value, who ? who.mac : undefined, (who && who.address) || undefined, +to || undefined).then(function(test) {
			dom.content(answer, resultNodes(test, known));
		}, function(err) {
			dom.content(answer, [ b4.notice('error', b4.isStopped(err) ? _('b4 is not running, so nothing happens to any host.') : b4.explain(err)) ]);
		}).then(function() { button.disabled = false });
	};

	return E('form', { 'class': 'cbi-section', 'submit': ask }, [
		E('h3', {}, [ _('What happens to this host') ]),
		E('div', { 'class': 'cbi-section-descr' }, [ _('This tests the rules in force, and not what is changed above: press Save & Apply first.') ]),
		field('b4-test-host', _('Host'), host),
		field('b4-test-device', _('Device'), device),
		field('b4-test-port', _('Port'), port),
		E('div', { 'class': 'cbi-value' }, [ E('label', { 'class': 'cbi-value-title' }), E('div', { 'class': 'cbi-value-field' }, [ button ]) ]),
		answer
	]);
}

return view.extend({
	load: function() {
		return Promise.all([ devices.load(), uci.load('b4') ]);
	},

	render: function(data) {
		const known = data[0], words = b4.actions();
		const m = new form.Map('b4', _('Rules'), _('The first rule that matches a host decides what is done. What no rule matches is left alone.'));
		const s = m.section(Rules, 'rule');
		let o;

		s.anonymous = true;
		s.addremove = true;
		s.sortable = true;
		s.nodescriptions = true;
		s.sectiontitle = function(sid) { return sid };
		s.modaltitle = function(sid) { return _('Rule %s').format(sid) };

		o = s.option(EntryList, '_match', _('What it is for'), _('A name, which stands for all names below it too, a link, an address, a network, or the path of a file with a name a line. Empty: all names.'));
		o.targets = MATCH;
		o.read = entry.parse;
		o.placeholder = 'youtube.com, 203.0.113.0/24, /etc/b4/names.txt';
		o.textvalue = function(sid) {
			const names = values(sid, MATCH), not = values(sid, [ 'not' ]);
			const lines = names.length ? shortList(names) : [ E('div', {}, [ _('All names') ]) ];

			if (not.length)
				lines.push(E('div', { 'style': SMALL }, [ _('except %d').format(not.length) ]));

			return E('div', {}, lines.concat(E('div', { 'id': 'b4-unreached-' + sid })));
		};

		o = s.option(EntryList, '_not', _('But not for'), _('Names, with all names below them, that this rule leaves to the next ones.'));
		o.targets = [ 'not' ];
		o.read = readName;
		o.placeholder = 'example.org';
		o.modalonly = true;

		o = s.option(EntryList, '_who', _('Devices'), _('Those the rule is for; none: all devices, and the router itself. With entries of several kinds (MAC, address, interface) a device must fit one of each kind.'));
		o.targets = WHO;
		o.read = devices.parse;
		o.caption = function(text) { return devices.called(known, text) };
		o.placeholder = _('Pick a device or write one');
		o.custom = _('MAC, address, network or interface');
		known.forEach(function(device) { o.value(device.mac, E('span', { 'style': b4.BREAKING }, [ devices.title(device) ])) });
		o.textvalue = function(sid) {
			const who = values(sid, WHO);

			return E('div', {}, who.length ? shortList(who.map(function(text) { return devices.called(known, text) })) : [ _('All') ]);
		};

		o = s.option(EntryList, '_ports', _('Ports'), _('Destination ports that the rule is for; none: all that are watched.'));
		o.targets = [ 'port' ];
		o.read = readPort;
		o.placeholder = '8443';
		o.modalonly = true;

		o = s.option(form.DummyValue, '_deed', _('What b4 does'));
		o.modalonly = false;
		o.textvalue = function(sid) { return E('div', {}, deed(sid)) };

		o = s.option(form.ListValue, 'action', _('What b4 does'));
		o.modalonly = true;
		o.default = 'desync';
		o.rmempty = false;
		Object.keys(words).forEach(function(action) { o.value(action, words[action]) });

		o = s.option(form.ListValue, 'quic', _('For QUIC'), _('QUIC is how browsers open many sites by UDP. Blocked and told so, they go on by TCP at once.'));
		o.modalonly = true;
		o.optional = true;
		o.value('', _('The same'));
		Object.keys(words).forEach(function(action) { o.value(action, words[action]) });

		o = s.option(Strategy, 'strategy', _('Strategy'), _('One of your strategies, auto to let b4 choose, or the text of one such as split(midsld) disorder.'));
		o.modalonly = true;
		o.default = 'default';
		o.rmempty = false;
		o.retain = true;
		o.depends('action', 'desync');
		o.depends('quic', 'desync');
		o.value('default');
		o.value('auto');
		uci.sections('b4', 'strategy', function(section) {
			if (section['.name'] != 'default')
				o.value(section['.name']);
		});

		o = s.option(Name, '_name', _('Name'));
		o.modalonly = true;
		o.rmempty = false;
		o.write = function(sid, name) { s.renames[sid] = name.trim() };

		return m.render().then(function(node) {
			return E('div', { 'dir': b4.direction() }, [ E('style', {}, [ b4.SIDES + SIGNS ]), node, renderTester(known) ]);
		});
	}
});
