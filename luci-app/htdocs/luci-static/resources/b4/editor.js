'use strict';
'require baseclass';
'require dom';
'require b4.common as b4';
'require b4.fields as fields';
'require b4.picture as picture';
'require b4.share as share';
'require b4.steps as words';
'require b4.strategy as strategy';

/*
 * The editor of one strategy: a tab for each protocol with the steps as cards, the
 * text, and the picture. The text is what counts; cards are made of it, and it of
 * cards, whichever is being edited. While a text cannot be read its cards wait.
 */

/* How long b4d is not asked while somebody types, in ms. */
const PATIENCE = 300;

const BREAKS = /[\r\n]/g;

const ABOUT = {
	tls: _('For encrypted sites: changes how the TLS hello leaves, the first message to a site.'),
	quic: _('For encrypted sites over QUIC (HTTP/3), which browsers try first or besides.'),
	http: _('For plain sites: changes how the request leaves.')
};

const HARM = {
	nothing: _('The message leaves as it is.'),
	segments: _('Only the message itself is sent, cut or in another order. Hardly any site minds.'),
	decoys: _('Decoys are sent besides the message. If something on the way takes them for real, sites break; try without decoys first.'),
	'segments http': _('Only the request itself is sent, cut, in another order or in other letters.'),
	'decoys quic': _('Other bytes are sent besides the message. Servers throw them away.')
};

const STYLE = [
	picture.STYLE,
	'.b4-editor{margin-top:1em}',
	'.b4-editor p{margin:.75em 0}',
	'.b4-editor code{font-size:90%;font-size-adjust:none}',
	'.b4-columns{display:flex;flex-wrap:wrap;gap:1em 2em;align-items:flex-start}',
	'.b4-columns>*{flex:1 1 20em;min-width:0}',
	'.b4-columns>:last-child{position:sticky;top:4em}',
	'.b4-card{border:1px solid var(--border-color-medium,rgba(128,128,128,.4));border-radius:4px;padding:.75em;margin:0 0 .75em;background:var(--background-color-high,transparent)}',
	'.b4-card.b4-wrong{border-color:var(--error-color-high,#e8210d)}',
	'.b4-card.b4-over{border-style:dashed}',
	'.b4-card>div:first-child{display:flex;gap:.5em;align-items:center}',
	'.b4-card>div:first-child>strong{flex:1;font-family:monospace;font-size:115%;overflow-wrap:anywhere}',
	'.b4-card .btn{min-width:2.5em}',
	'.b4-grip{cursor:grab;padding:0 .25em;user-select:none;opacity:.6}',
	'.b4-fields{display:grid;grid-template-columns:repeat(auto-fill,minmax(11em,1fr));gap:.5em 1em;margin-top:.5em}',
	'.b4-fields>*{min-width:0}',
	'.b4-fields>.b4-wide{grid-column:1/-1}',
	'fieldset.b4-plain,fieldset.b4-wide{border:0;margin:0;padding:0;min-width:0}',
	'.b4-fields label,.b4-fields legend,.b4-columns>div>label{display:block;font-size:100%;text-align:start;width:auto;float:none;border:0;margin:0;padding:0;color:inherit;line-height:1.8}',
	'.b4-fields input:not([type=checkbox]),.b4-fields select{width:100%;min-width:0;max-width:none}',
	'.b4-many{display:flex;flex-wrap:wrap;gap:.25em .5em}',
	'.b4-many>input{flex:0 1 7em}',
	'.b4-many>label{flex:1 1 14em}',
	'.b4-many+.b4-hint,input+.b4-hint{margin-top:.25em}',
	'.b4-fields>div.b4-wide>input{max-width:14em!important}',
	'@media(max-width:700px){.b4-columns>:last-child{order:-1;position:static}}',
	'.b4-error code{white-space:pre-wrap}',
	'.b4-error mark{background:var(--error-color-high,#e8210d);color:#fff}',
	'.b4-text{width:100%;min-width:0;max-width:none;box-sizing:border-box;font-family:monospace;resize:vertical}',
	'.b4-old{opacity:.4}',
	'.b4-tools{display:flex;flex-wrap:wrap;gap:.5em;align-items:center;margin:.5em 0}',
	'.b4-tools select{min-width:0;max-width:100%;width:auto;flex:1 1 12em}',
	'.b4-editor :focus-visible{outline:2px solid var(--primary-color-high,#1976d2);outline-offset:1px}'
].join('\n');

let editors = 0;

/* placeOf turns a place in bytes, as b4d counts, into one in characters. */
function placeOf(text, bytes) {
	return new TextDecoder().decode(new TextEncoder().encode(text).slice(0, bytes)).length;
}

/* wantsOf says in sentences what else has to come to b4, which b4d names in words. */
function wantsOf(wants, early) {
	const sentences = early ? [ _('Steps of the handshake act in the first rule alone, if it is for all sites, and only with the engine nfqueue.') ] : [];

	if (/\bSYNs\b/.test(wants))
		sentences.push(_('For this, b4 has to see the first packet of each connection.'));
	if (/SYN,ACK/.test(wants))
		sentences.push(_('For this, b4 has to see the first answer of the server.'));

	return sentences;
}

const Editor = baseclass.extend({
	__init__: function(options) {
		Object.assign(this, options);
		this.id = 'b4-editor-%d'.format(++editors);
		this.pane = E('div', { 'role': 'tabpanel', 'id': this.id + '-pane' });
		this.tabs = E('ul', { 'class': 'cbi-tabmenu', 'role': 'tablist', 'aria-label': _('Protocol') });
		this.said = E('span', { 'role': 'status' });
		this.ask = strategy.latest(
			L.bind(function(what) { return this.preview(what.proto, what.text) }, this),
			L.bind(this.answered, this), PATIENCE);
		this.node = E('div', { 'class': 'b4-editor' }, [ E('style', {}, [ STYLE ]), this.renderTools(), this.tabs, this.pane ]);
		this.select(strategy.PROTOS.find(L.bind(function(proto) { return this.texts[proto] }, this)) || 'tls');
	},

	/* select shows the tab of a protocol. */
	select: function(proto) {
		this.proto = proto;
		this.lang = this.help ? strategy.language(this.help, proto) : null;
		this.pane.setAttribute('aria-labelledby', this.id + '-' + proto);
		this.renderTabs();
		this.renderPane();
		this.write(this.texts[proto]);
	},

	renderTabs: function() {
		dom.content(this.tabs, strategy.PROTOS.map(L.bind(function(proto) {
			const isOn = proto == this.proto;
			const link = E('a', {
				'href': '#', 'role': 'tab', 'id': this.id + '-' + proto, 'aria-controls': this.id + '-pane',
				'aria-selected': isOn ? 'true' : 'false', 'tabindex': isOn ? '0' : '-1',
				'click': L.bind(function(ev) {
					ev.preventDefault();
					this.select(proto);
				}, this),
				'keydown': L.bind(this.handleTabKey, this)
			}, [ this.texts[proto] ? share.TITLES[proto] : _('%s (off)').format(share.TITLES[proto]) ]);

			return E('li', {
				'class': isOn ? 'cbi-tab' : 'cbi-tab-disabled', 'role': 'presentation',
				'data-errors': this.wrongIn(proto, this.texts[proto]) ? '!' : null
			}, [ link ]);
		}, this)));
	},

	handleTabKey: function(ev) {
		const right = window.getComputedStyle(this.tabs).direction == 'rtl' ? -1 : 1;
		const step = { ArrowRight: right, ArrowLeft: -right }[ev.key];
		const n = strategy.PROTOS.length;

		if (!step)
			return;

		ev.preventDefault();
		this.select(strategy.PROTOS[(strategy.PROTOS.indexOf(this.proto) + step + n) % n]);
		this.tabs.querySelector('[tabindex="0"]').focus();
	},

	/* focus goes to the text of a protocol. */
	focus: function(proto) {
		this.select(proto);
		this.field.focus();
	},

	button: function(text, title, handler) {
		return E('button', {
			'type': 'button', 'class': 'btn cbi-button', 'title': title, 'aria-label': title,
			'disabled': this.readonly || null, 'click': L.bind(handler, this)
		}, [ text ]);
	},

	renderPane: function() {
		this.field = E('textarea', {
			'class': 'cbi-input-textarea b4-text', 'id': this.id + '-text', 'rows': 2, 'dir': 'ltr', 'spellcheck': 'false',
			'autocapitalize': 'off', 'autocomplete': 'off', 'aria-describedby': this.id + '-error',
			'disabled': this.readonly || null,
			'input': L.bind(function() { this.write(this.field.value.replace(BREAKS, ' ')) }, this)
		});
		this.error = E('div', { 'class': 'b4-error', 'id': this.id + '-error', 'role': 'status' });
		this.cards = E('div');
		this.adder = E('div', { 'class': 'b4-tools' });
		this.fieldset = E('fieldset', { 'class': 'b4-plain' }, this.lang ? [ this.cards, this.adder, fields.markers(this.id, this.lang) ] : []);
		this.picture = E('div');
		this.effect = E('p', { 'aria-live': 'polite' });

		dom.content(this.pane, [
			E('p', {}, [ ABOUT[this.proto] ]),
			E('div', { 'class': 'b4-columns' }, [
				E('div', {}, [
					this.fieldset,
					E('label', { 'for': this.id + '-text' }, [ _('As text') ]),
					this.field,
					this.error
				]),
				E('div', {}, [ this.picture, this.effect ])
			])
		]);
		this.steps = [];
	},

	/*
	 * write takes a new text. Cards are made of it anew, but where it was entered in one
	 * of them: then steps are what that has made of its step.
	 */
	write: function(text, steps) {
		const read = strategy.parse(text), wrong = this.wrongIn(this.proto, text);
		const isNew = this.texts[this.proto] != text.trim();

		this.text = text;
		this.texts[this.proto] = text.trim();
		if (this.field.value.replace(BREAKS, ' ') != text)
			this.field.value = text;

		this.fieldset.disabled = this.readonly || (!steps && read.error != null);
		if (steps || !read.error)
			this.steps = steps || read.steps;
		if (this.lang && !steps && !read.error)
			this.renderCards();

		this.fail(wrong);
		dom.content(this.said, []);
		this.picture.classList.add('b4-old');
		if (!wrong)
			this.ask({ proto: this.proto, text: text.trim() });
		if (isNew) {
			this.changed();
			this.renderTabs();
		}
	},

	edit: function(steps) {
		this.write(strategy.print(steps));
	},

	/* fail shows an error, { pos, text }, under the text and on its card; null: none. */
	fail: function(wrong) {
		const at = wrong ? strategy.stepAt(strategy.parse(this.text).steps, wrong.pos) : -1;

		this.field.setAttribute('aria-invalid', wrong ? 'true' : 'false');
		this.field.classList.toggle('cbi-input-invalid', wrong != null);
		dom.content(this.error, wrong ? [ E('div', {}, [ wrong.text ]), share.marked(this.text, wrong.pos) ] : []);
		Array.from(this.cards.children).forEach(function(card, i) {
			card.classList.toggle('b4-wrong', i == at);
			dom.content(card.lastElementChild, i == at ? [ wrong.text ] : []);
		});
	},

	/* answered shows what b4d says of a text, unless there is a newer one. */
	answered: function(what, err, reply) {
		if (what.proto != this.proto || what.text != this.text.trim())
			return;

		if (err) {
			dom.content(this.effect, [ _('The picture is missing: %s').format(b4.explain(err)) ]);
			return;
		}
		if (reply.error) {
			const lead = this.text.search(/\S|$/);

			this.fail({ pos: lead + placeOf(what.text, reply.error.pos), text: reply.error.text });
			return;
		}

		const steps = strategy.parse(what.text).steps;
		const early = this.lang && steps.some(L.bind(function(step) { return (strategy.spec(this.lang, step.name) || {}).phase == 'syn' }, this));
		const used = reply.marks.map(function(mark) { return mark.name }).filter(function(name) {
			return new RegExp('\\b' + name + '\\b').test(what.text);
		});

		this.picture.classList.toggle('b4-old', false);
		dom.content(this.picture, [ picture.render(reply, this.proto, used) ]);
		dom.content(this.effect, [ [ HARM[reply.harm + ' ' + this.proto] || HARM[reply.harm] || reply.harm ].concat(wantsOf(reply.wants, early)).join(' ') ]);
	},

	renderCards: function() {
		dom.content(this.cards, this.steps.map(L.bind(this.renderCard, this)));
		this.renderAdder();
	},

	/* renderAdder is the menu of steps that may be added. */
	renderAdder: function() {
		const groups = strategy.menu(this.lang, this.steps);
		const select = E('select', { 'class': 'cbi-input-select', 'id': this.id + '-add' }, groups.map(L.bind(function(group) {
			return E('optgroup', { 'label': words.phase(group.phase) }, group.steps.map(L.bind(function(spec) {
				return E('option', { 'value': spec.name }, [ '%s: %s'.format(spec.name, words.step(spec, this.proto)) ]);
			}, this)));
		}, this)));
		const add = E('button', {
			'type': 'button', 'class': 'btn cbi-button cbi-button-add', 'disabled': this.readonly || null,
			'click': L.bind(function() { this.handleAdd(select.value) }, this)
		}, [ _('Add step') ]);

		select.value = 'split';
		dom.content(this.adder, groups.length ? [ E('label', { 'for': this.id + '-add' }, [ _('One more step:') ]), select, add ] : []);
	},

	handleAdd: function(name) {
		const spec = strategy.spec(this.lang, name);

		if (!spec)
			return;

		const added = strategy.insert(this.lang, this.steps, strategy.fresh(this.lang, spec));

		this.edit(added.steps);

		const card = this.cards.children[added.at];

		(card.querySelector('.b4-fields input, .b4-fields select') || card.querySelector('button:enabled')).focus();
	},

	/* handleMove moves a step and keeps the focus on the button that did so. */
	handleMove: function(from, to, button) {
		this.edit(strategy.move(this.steps, from, to));

		const buttons = this.cards.children[to].querySelectorAll('button');

		(buttons[button].disabled ? buttons[1 - button] : buttons[button]).focus();
	},

	handleRemove: function(at) {
		this.edit(strategy.replace(this.steps, at, null));

		const next = this.cards.children[Math.min(at, this.steps.length - 1)];

		(next ? next.querySelectorAll('button')[2] : this.adder.querySelector('select')).focus();
	},

	renderCard: function(step, i) {
		const spec = strategy.spec(this.lang, step.name);
		const grip = E('span', { 'class': 'b4-grip', 'draggable': this.readonly ? 'false' : 'true', 'aria-hidden': 'true', 'title': _('Drag to move') }, [ '\u2630' ]);
		const up = this.button('\u2191', _('Move %s up').format(step.name), function() { this.handleMove(i, i - 1, 0) });
		const down = this.button('\u2193', _('Move %s down').format(step.name), function() { this.handleMove(i, i + 1, 1) });
		const remove = this.button('\u2715', _('Remove %s').format(step.name), function() { this.handleRemove(i) });

		up.disabled = this.readonly || !strategy.mayMove(this.lang, this.steps, i, i - 1);
		down.disabled = this.readonly || !strategy.mayMove(this.lang, this.steps, i, i + 1);
		remove.classList.add('cbi-button-remove');

		const card = E('div', { 'class': 'b4-card', 'role': 'group', 'aria-label': _('Step %d: %s').format(i + 1, step.name) }, [
			E('div', {}, [ grip, E('strong', { 'dir': 'ltr' }, [ step.name ]), up, down, remove ]),
			E('div', {}, [ spec ? words.step(spec, this.proto) : '' ]),
			spec ? E('div', { 'class': 'b4-fields' }, strategy.params(spec).map(L.bind(this.renderParam, this, spec, i))) : '',
			E('div', { 'class': 'b4-error' })
		]);

		this.makeDraggable(card, grip, i);

		return card;
	},

	/* renderParam is the field of one parameter of step i. */
	renderParam: function(spec, i, param) {
		return fields.field(this.id, '%s-%d-%s'.format(this.id, i, param.name), spec, param, strategy.values(spec, this.steps[i], param), L.bind(function(now) {
			const steps = strategy.replace(this.steps, i, strategy.withValues(spec, this.steps[i], param, now));

			this.write(strategy.print(steps), steps);
		}, this));
	},

	makeDraggable: function(card, grip, i) {
		const may = L.bind(function() { return this.dragged != null && strategy.mayMove(this.lang, this.steps, this.dragged, i) }, this);

		grip.addEventListener('dragstart', L.bind(function(ev) {
			this.dragged = i;
			ev.dataTransfer.setData('text/plain', String(i));
			ev.dataTransfer.effectAllowed = 'move';
			ev.dataTransfer.setDragImage(card, 0, 0);
		}, this));
		grip.addEventListener('dragend', L.bind(function() { this.dragged = null }, this));
		card.addEventListener('dragover', function(ev) {
			if (!may())
				return;

			ev.preventDefault();
			card.classList.add('b4-over');
		});
		card.addEventListener('dragleave', function() { card.classList.remove('b4-over') });
		card.addEventListener('drop', L.bind(function(ev) {
			card.classList.remove('b4-over');
			if (!may())
				return;

			ev.preventDefault();
			this.edit(strategy.move(this.steps, this.dragged, i));
			this.dragged = null;
		}, this));
	},

	renderTools: function() {
		return E('div', { 'class': 'b4-tools' }, [
			E('button', { 'type': 'button', 'class': 'btn cbi-button', 'click': L.bind(this.handleCopy, this) }, [ _('Copy as one line') ]),
			this.button(_('Paste a line'), null, this.handlePaste),
			this.said
		]);
	},

	handleCopy: function() {
		return share.copy(strategy.line(this.texts)).then(L.bind(function(done) {
			dom.content(this.said, done ? [ _('Copied.') ] : []);
		}, this));
	},

	handlePaste: function() {
		share.paste(this.proto, L.bind(this.firstError, this), L.bind(function(texts) {
			Object.assign(this.texts, texts);
			this.changed();
			this.select(texts[this.proto] ? this.proto : Object.keys(texts).find(function(proto) { return texts[proto] }) || this.proto);
			this.tabs.querySelector('[tabindex="0"]').focus();
		}, this));
	},

	wrongIn: function(proto, text) {
		return strategy.check(this.help ? strategy.language(this.help, proto) : null, text);
	},

	/* firstError is the first error in texts, with its protocol, or undefined. */
	firstError: function(texts) {
		return strategy.PROTOS.filter(function(proto) { return texts[proto] }).map(L.bind(function(proto) {
			const wrong = this.wrongIn(proto, texts[proto]);

			return wrong ? { proto: proto, pos: wrong.pos, text: wrong.text } : null;
		}, this)).find(function(wrong) { return wrong });
	}
});

return baseclass.extend({
	make: function(options) { return new Editor(options) }
});
