'use strict';
'require view';
'require dom';
'require poll';
'require rpc';
'require b4.common as b4';

const LINES = 1000; // of the whole log, which programs share

/* The log is logd's, and so is its text: rpcd has it the same way on all releases. */
const callLog = rpc.declare({ object: 'log', method: 'read', params: [ 'lines', 'stream', 'oneshot' ], expect: { log: [] }, reject: true });

const CSS = [
	'.b4-log{max-height:60vh;overflow-y:auto;border:1px solid var(--border-color-medium,rgba(128,128,128,.3));border-radius:8px;padding:.5em;margin-top:1em;',
	'font-family:monospace;overflow-wrap:anywhere;direction:ltr;text-align:left}',
	'.b4-log>div{display:flex;flex-wrap:wrap;gap:0 1em;padding:.2em .4em;border-inline-start:3px solid transparent}',
	'.b4-log time{flex:none;opacity:.65}.b4-log span{flex:1 1 20em;min-width:0}',
	'.b4-log .WARN{border-color:var(--warn-color-high,#d9a400)}.b4-log .ERROR{border-color:var(--error-color-high,#d9363e)}',
	'.b4-log .DEBUG{opacity:.65}'
].join('');

/*
 * parse makes an entry of what logd has of b4d or of its init script, null of others.
 * Of what b4d writes itself, the time is dropped: the entry has one.
 */
function parse(entry) {
	const own = /^(?:b4d?(?:\[\d+\])?|procd: \/etc\/rc\.d\/S\d+b4): (.*)$/.exec(entry.msg);

	if (!own)
		return null;

	const said = /^time=\S+ level=(\w+) msg=("(?:[^"\\]|\\.)*"|\S+) ?(.*)$/.exec(own[1]);
	let text = own[1];

	if (said) {
		text = said[2];
		try {
			text = (text.charAt(0) == '"') ? JSON.parse(text) : text;
		}
		catch (e) {
			// Go quotes some characters in a way of its own; as it is then.
		}
		text = said[3] ? '%s  %s'.format(text, said[3]) : text;
	}

	return { time: entry.time, level: said ? said[1] : (entry.priority % 8 <= 3 ? 'ERROR' : 'INFO'), text: text };
}

/* find is which entries have all words of a filter, in any case. */
function find(entries, filter) {
	const words = filter.toLowerCase().split(/\s+/);

	return entries.filter(function(e) {
		const text = '%s %s'.format(e.level, e.text).toLowerCase();

		return words.every(function(word) { return text.indexOf(word) >= 0 });
	});
}

return view.extend({
	handleSaveApply: null,
	handleSave: null,
	handleReset: null,

	load: function() {
		return callLog(LINES, false, true).then(function(log) {
			return { entries: log.map(parse).filter(function(e) { return e != null }) };
		}, function() {
			return { entries: [], error: _('The system log cannot be read: its service log does not run, or you may not read it.') };
		});
	},

	/* show leaves the lines alone unless there are others, and stays at the end if it was there. */
	show: function() {
		const found = find(this.data.entries, this.filter.value), key = JSON.stringify(found) + this.data.error;
		const atEnd = this.box.scrollTop + this.box.clientHeight >= this.box.scrollHeight - 4;

		if (this.box.key === key)
			return;

		this.box.key = key;
		dom.content(this.box, found.length ? found.map(function(e) {
			return E('div', { 'class': e.level }, [ E('time', { 'dir': b4.direction() }, [ b4.date(e.time) ]), E('span', {}, [ e.text ]) ]);
		}) : [ E('em', {}, [ this.data.error || (this.data.entries.length ? _('No line has these words.') : _('b4 has logged nothing yet.')) ]) ]);
		if (atEnd)
			this.box.scrollTop = this.box.scrollHeight;
	},

	refresh: function() {
		return this.load().then(L.bind(function(data) {
			this.data = data;
			this.show();
		}, this));
	},

	render: function(data) {
		this.data = data;
		this.filter = E('input', {
			'id': 'b4-filter', 'type': 'text', 'class': 'cbi-input-text', 'placeholder': _('Words to look for'), 'input': L.bind(this.show, this)
		});
		this.box = E('div', { 'class': 'b4-log', 'role': 'log', 'tabindex': '0', 'aria-label': _('Log of b4') });
		this.show();
		window.setTimeout(L.bind(function() { this.box.scrollTop = this.box.scrollHeight }, this), 0);
		poll.add(L.bind(this.refresh, this), 5);

		return E('div', { 'dir': b4.direction() }, [
			E('style', {}, [ CSS ]),
			E('h2', {}, [ _('Log') ]),
			E('div', { 'class': 'cbi-map-descr' }, [ _('What b4 wrote to the system log, the newest last. How much it writes is among the settings.') ]),
			E('div', {}, [ E('label', { 'for': 'b4-filter' }, [ _('Show only lines with') ]), ' ', this.filter ]),
			this.box
		]);
	}
});
