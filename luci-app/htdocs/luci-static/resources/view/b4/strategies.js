'use strict';
'require view';
'require dom';
'require uci';
'require ui';
'require b4.common as b4';
'require b4.editor as editor';
'require b4.names as names';
'require b4.strategy as strategy';

/*
 * The strategies and, of one at a time, its editor. What is edited is kept here and
 * goes into UCI when the page is saved.
 */

/* The strategy that b4d has by itself, where no section replaces it. */
const BUILTIN = { name: 'default', texts: { tls: 'split(midsld) disorder', quic: '', http: '' } };

const STYLE = [
	'.b4-item{border:1px solid var(--border-color-medium,rgba(128,128,128,.4));border-radius:4px;padding:1em;margin:0 0 1em}',
	'.b4-row{display:flex;flex-wrap:wrap;gap:.5em 1em;align-items:flex-start}',
	'.b4-row>:first-child{flex:1 1 16em;min-width:0}',
	'.b4-row h3{margin:0;border:0;padding:0;line-height:1.6;text-align:start;overflow-wrap:anywhere}',
	'.b4-row .label{margin-inline-start:.75em;font-size:75%;vertical-align:middle}',
	'.b4-line{font-size:90%;font-size-adjust:none;display:inline-block;margin-top:.4em;overflow-wrap:anywhere;white-space:pre-wrap}',
	'.b4-buttons{display:flex;flex-wrap:wrap;gap:.4em}',
	'.b4-hint{opacity:.75;font-size:90%}',
	'.b4-error{color:var(--error-color-high,#e8210d);overflow-wrap:anywhere}',
	'.b4-create{margin:1em 0;display:flex;flex-wrap:wrap;gap:.5em;align-items:center}',
	'.b4-create>input{flex:0 1 16em;min-width:0}',
	'.b4-create>div{flex:0 0 100%}',
	'.b4-create>div:empty{display:none}'
].join('\n');

function same(a, b) {
	return strategy.PROTOS.every(function(proto) { return a[proto] == b[proto] });
}

/* written are the texts of a section, null where there is none. */
function written(name) {
	const section = uci.get('b4', name);

	if (!section || section['.type'] != 'strategy')
		return null;

	return strategy.PROTOS.reduce(function(texts, proto) {
		texts[proto] = uci.get('b4', name, proto) || '';
		return texts;
	}, {});
}

function changed(item) {
	if (item.name == BUILTIN.name && !item.was)
		return !isBuiltin(item);

	return item.name != item.was || isBuiltin(item) || !same(written(item.was), item.texts);
}

function isBuiltin(item) {
	return item.name == BUILTIN.name && (item.reset || !item.was) && same(item.texts, BUILTIN.texts);
}

return view.extend({
	load: function() {
		return Promise.all([
			b4.call.strategies().catch(function(err) { return { error: err } }),
			uci.load('b4')
		]).then(function(replies) { return replies[0] });
	},

	/*
	 * read takes the strategies from UCI: what was edited and not saved is gone. Of each,
	 * was is the name that it has there, as long as it has one.
	 */
	read: function() {
		this.items = uci.sections('b4', 'strategy').map(function(section) {
			return { name: section['.name'], was: section['.name'], texts: written(section['.name']) };
		});

		const at = this.items.findIndex(function(item) { return item.name == BUILTIN.name });

		this.items.unshift(at < 0 ? { name: BUILTIN.name, texts: Object.assign({}, BUILTIN.texts) } : this.items.splice(at, 1)[0]);
	},

	/* preview asks b4d about a text once, and about one text at a time. */
	preview: function(proto, text) {
		const key = proto + ' ' + text;

		if (!this.known[key]) {
			const asked = this.asked.then(function() { return b4.call.preview(proto, text) });

			this.known[key] = asked;
			this.asked = asked.catch(L.bind(function() { delete this.known[key] }, this));
		}

		return this.known[key];
	},

	find: function(name) {
		return this.items.find(function(item) { return item.name == name });
	},

	/* usage says which rules call a strategy. */
	usage: function(item) {
		const rules = uci.sections('b4', 'rule'), users = strategy.users(rules, item.was || item.name);

		if (!rules.length && item.name == BUILTIN.name)
			return _('There are no rules yet: it is used for all sites.');

		return users.length ? _('Used by the rules: %s').format(users.join(', ')) : _('No rule uses it.');
	},

	button: function(style, text, handler, arg) {
		return E('button', {
			'class': 'btn cbi-button ' + style,
			'type': 'button',
			'disabled': this.readonly || null,
			'click': L.bind(handler, this, arg)
		}, [ text ]);
	},

	renderHead: function(item) {
		const isOpen = this.opened == item.name;
		const labels = [];

		if (isBuiltin(item))
			labels.push(E('span', { 'class': 'label' }, [ _('built in') ]));
		if (changed(item))
			labels.push(E('span', { 'class': 'label warning' }, [ _('not saved') ]));

		const toggle = this.button('cbi-button-edit', isOpen ? _('Close') : _('Edit'), this.handleOpen, item);

		toggle.disabled = false;
		toggle.setAttribute('aria-expanded', isOpen ? 'true' : 'false');
		toggle.setAttribute('aria-label', (isOpen ? _('Close %s') : _('Edit %s')).format(item.name));

		return E('div', { 'class': 'b4-row' }, [
			E('div', {}, [
				E('h3', {}, [ E('span', { 'dir': 'ltr' }, [ item.name ]) ].concat(labels)),
				E('div', { 'class': 'b4-hint' }, [ this.usage(item) ]),
				isOpen ? '' : E('code', { 'class': 'b4-line', 'dir': 'ltr' }, [ strategy.line(item.texts) || '-' ])
			]),
			E('div', { 'class': 'b4-buttons' }, [
				toggle,
				this.button('', _('Duplicate'), this.handleDuplicate, item),
				isBuiltin(item) ? '' : this.button('cbi-button-remove', item.name == BUILTIN.name ? _('Restore') : _('Delete'), this.handleDelete, item)
			])
		]);
	},

	/* refresh shows anew what is said of a strategy, but not its editor. */
	refresh: function(item) {
		dom.content(item.head, [ this.renderHead(item) ]);
	},

	renderItem: function(item) {
		item.head = E('div');
		item.note = E('div', { 'role': 'alert' });
		item.body = E('div');
		this.refresh(item);
		if (this.opened == item.name)
			this.renderBody(item);

		return E('div', { 'class': 'cbi-section b4-item' }, [ item.head, item.note, item.body ]);
	},

	renderBody: function(item) {
		item.editor = editor.make({
			name: item.name,
			texts: item.texts,
			help: this.help,
			readonly: this.readonly,
			preview: L.bind(this.preview, this),
			changed: L.bind(this.refresh, this, item)
		});
		item.field = (item.name == BUILTIN.name) ? null : this.renderName('b4-name', _('Name'), item.name,
			L.bind(function(name) { return this.wrongName(name, item) }, this),
			L.bind(this.handleRename, this, item));
		dom.content(item.body, [ item.field ? item.field.node : '', item.editor.node ]);
	},

	/*
	 * renderName is a field for a name, and what wrong says of it; take is given what is
	 * entered, good or not.
	 */
	renderName: function(id, title, value, wrong, take) {
		const note = E('div', { 'class': 'b4-error', 'id': id + '-note', 'role': 'alert' });
		const input = E('input', {
			'type': 'text', 'class': 'cbi-input-text', 'id': id, 'dir': 'ltr', 'maxlength': 64, 'value': value,
			'autocomplete': 'off', 'autocapitalize': 'off', 'spellcheck': 'false', 'aria-describedby': note.id,
			'disabled': this.readonly || null
		});

		function say(text) {
			input.setAttribute('aria-invalid', text ? 'true' : 'false');
			input.classList.toggle('cbi-input-invalid', !!text);
			dom.content(note, [ text ]);
		}

		input.addEventListener('input', function() {
			const name = input.value.trim(), text = wrong(name);

			say((name || take) ? text : '');
			if (take)
				take(name, text);
		});

		return { input: input, say: say, node: E('div', { 'class': 'b4-create' }, [
			E('label', { 'for': id }, [ title ]), input, note, take ? E('div', { 'class': 'b4-hint' }, [ _('Rules that use it take over a new name.') ]) : ''
		]) };
	},

	show: function() {
		dom.content(this.list, this.items.map(L.bind(this.renderItem, this)));
	},

	/* openItem opens one strategy and closes the one that was open. */
	openItem: function(item) {
		const before = this.find(this.opened);

		this.opened = item ? item.name : null;
		[ before, item ].forEach(L.bind(function(it) {
			if (!it || !it.body)
				return;

			this.refresh(it);
			it.wrong = '';
			if (it == item)
				this.renderBody(it);
			else
				dom.content(it.body, []);
		}, this));
	},

	handleOpen: function(item) {
		this.openItem(this.opened == item.name ? null : item);
		item.head.querySelector('button').focus();
	},

	add: function(name, texts) {
		const item = { name: name, texts: Object.assign({}, texts) };

		this.items.push(item);
		this.list.appendChild(this.renderItem(item));
		this.openItem(item);
		item.head.querySelector('button').focus();
		item.head.scrollIntoView({ block: 'nearest' });
	},

	/*
	 * wrongName is why no strategy but item may have a name. Until all is saved, those
	 * that others have given up are theirs.
	 */
	wrongName: function(name, item) {
		return names.wrong(name, this.items.some(function(other) {
			return other != item && (other.name == name || other.was == name);
		}) || (uci.get('b4', name) != null && !written(name)));
	},

	handleDuplicate: function(item) {
		const stem = item.name.slice(0, 60);
		let n = 2;

		while (this.wrongName(stem + '_' + n))
			n++;

		this.add(stem + '_' + n, item.texts);
	},

	/* handleRename keeps the last name that was good, and what is wrong with the one that is there. */
	handleRename: function(item, name, wrong) {
		item.wrong = wrong;
		if (wrong)
			return;

		item.name = this.opened = name;
		this.refresh(item);
	},

	handleDelete: function(item) {
		const users = strategy.users(uci.sections('b4', 'rule'), item.was || item.name);

		if (item.name == BUILTIN.name) {
			item.reset = true;
			item.texts = Object.assign({}, BUILTIN.texts);
			this.refresh(item);
			if (this.opened == item.name)
				this.renderBody(item);

			return;
		}
		if (users.length) {
			dom.content(item.note, [
				b4.notice('warning', _('The strategy %s cannot be deleted while rules use it: %s. Choose another strategy there first.').format(item.name, users.join(', ')))
			]);
			return;
		}

		this.items.splice(this.items.indexOf(item), 1);
		if (this.opened == item.name)
			this.opened = null;

		this.show();
		this.create.focus();
	},

	handleCreate: function(ev) {
		const name = this.create.value.trim(), text = this.wrongName(name);

		ev.preventDefault();
		this.created.say(text);
		if (text)
			return;

		this.create.value = '';
		this.add(name, { tls: '', quic: '', http: '' });
	},

	renderCreate: function() {
		this.created = this.renderName('b4-create', _('Name of a new strategy'), '', L.bind(this.wrongName, this));
		this.create = this.created.input;
		this.create.after(E('button', { 'class': 'btn cbi-button cbi-button-add', 'type': 'submit', 'disabled': this.readonly || null }, [ _('Add') ]));

		return E('form', { 'class': 'cbi-section', 'submit': L.bind(this.handleCreate, this) }, [ this.created.node ]);
	},

	/* refuse shows the strategy that cannot be saved, for one of its texts or else for its name. */
	refuse: function(item, proto) {
		if (this.opened != item.name)
			this.openItem(item);

		if (proto)
			item.editor.focus(proto);
		else if (item.field)
			item.field.input.focus();
		else
			dom.content(item.note, [ b4.notice('warning', names.wrong(item.name, true)) ]);

		ui.addNotification(null, E('p', {}, [
			_('Nothing is saved: the strategy %s has an error.').format(item.name)
		]), 'error');

		return false;
	},

	/* verify looks at all texts, and asks b4d about those that are new; false: one is wrong. */
	verify: function() {
		const self = this;
		const texts = [], unnamed = this.items.find(function(item) {
			return item.wrong || (!item.was && !isBuiltin(item) && uci.get('b4', item.name));
		});

		if (unnamed)
			return Promise.resolve(this.refuse(unnamed));

		this.items.forEach(function(item) {
			strategy.PROTOS.forEach(function(proto) {
				if (item.texts[proto])
					texts.push({ item: item, proto: proto, text: item.texts[proto] });
			});
		});

		const bad = texts.find(function(t) { return strategy.check(self.help ? strategy.language(self.help, t.proto) : null, t.text) });

		if (bad)
			return Promise.resolve(this.refuse(bad.item, bad.proto));

		return texts.filter(function(t) { return changed(t.item) }).reduce(function(before, t) {
			return before.then(function(good) {
				return good && self.preview(t.proto, t.text).then(function(reply) {
					return reply.error ? self.refuse(t.item, t.proto) : true;
				}, function() { return true }); // b4d is not there to be asked
			});
		}, Promise.resolve(true));
	},

	/* store puts what was edited into UCI, and saves that: rules take over new names. */
	store: function() {
		const items = this.items.filter(function(item) { return !isBuiltin(item) });
		const renames = {};

		uci.sections('b4', 'strategy').forEach(function(section) {
			if (!items.some(function(item) { return item.was == section['.name'] }))
				uci.remove('b4', section['.name']);
		});
		items.forEach(function(item) {
			const before = item.was ? written(item.was) : {};
			const sid = item.was || uci.add('b4', 'strategy', item.name);

			strategy.PROTOS.forEach(function(proto) {
				if (item.texts[proto] != (before[proto] || ''))
					uci.set('b4', sid, proto, item.texts[proto] || null);
			});
			if (item.name == sid)
				return;

			renames[sid] = item.name;
			uci.sections('b4', 'rule').forEach(function(rule) {
				if (rule.strategy == sid)
					uci.set('b4', rule['.name'], 'strategy', item.name);
			});
		});

		return names.save(renames);
	},

	/* handleSave saves once what was saved just now is known. */
	handleSave: function() {
		return this.saved = this.saved.then(L.bind(this.verify, this)).then(L.bind(function(good) {
			return good && this.store().then(L.bind(function() {
				this.read();
				this.show();

				return true;
			}, this));
		}, this)).catch(function(err) {
			ui.addNotification(null, E('p', {}, [ err.message ]), 'error');

			return false;
		});
	},

	handleSaveApply: function(ev, mode) {
		return this.handleSave(ev).then(function(good) {
			if (good)
				ui.changes.apply(mode == '0');
		});
	},

	handleReset: function() {
		this.read();
		this.show();
	},

	render: function(help) {
		this.known = {};
		this.asked = this.saved = Promise.resolve();
		this.readonly = !L.hasViewPermission();
		this.help = help.error ? null : help;
		this.list = E('div');
		this.read();
		this.opened = this.items.length == 1 ? this.items[0].name : null;
		this.show();

		return E('div', { 'dir': b4.direction() }, [
			E('style', {}, [ b4.SIDES + STYLE ]),
			E('h2', {}, [ _('Strategies') ]),
			E('div', { 'class': 'cbi-map-descr' }, [
				_('A strategy changes how the first message of a connection leaves, so that a filter does not find the name of the site in it. Rules call strategies by their names.')
			]),
			help.error ? b4.notice('warning', _('Strategies can be edited as text only: %s').format(b4.explain(help.error))) : '',
			this.list,
			this.renderCreate()
		]);
	}
});
