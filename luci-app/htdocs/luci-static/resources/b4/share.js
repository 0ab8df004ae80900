'use strict';
'require baseclass';
'require dom';
'require ui';
'require b4.common as b4';
'require b4.strategy as strategy';

/* How strategies get from one router to another: as a line that is copied and pasted. */

const TITLES = { tls: 'TLS', quic: 'QUIC', http: 'HTTP' };

/* marked is a text with the place of an error. */
function marked(text, pos) {
	return E('code', { 'dir': 'ltr' }, [ text.slice(0, pos), E('mark', {}, [ text.slice(pos, pos + 1) || '\u00a0' ]), text.slice(pos + 1) ]);
}

/* toClipboard needs another way where the page did not come over HTTPS. */
function toClipboard(text) {
	if (navigator.clipboard && window.isSecureContext)
		return navigator.clipboard.writeText(text);

	const area = E('textarea', { 'style': 'position:fixed;top:0;opacity:0', 'readonly': true, 'aria-hidden': 'true' });
	const before = document.activeElement;

	area.value = text;
	document.body.appendChild(area);
	area.select();

	const done = document.execCommand('copy');

	area.remove();
	if (before)
		before.focus();

	return done ? Promise.resolve() : Promise.reject(new Error('refused'));
}

/* copy copies a line and tells whether it could: else the line is there to be copied by hand. */
function copy(line) {
	return toClipboard(line).then(function() { return true }, function() {
		const area = E('textarea', { 'class': 'b4-text', 'rows': 4, 'dir': 'ltr', 'readonly': true, 'aria-label': _('The strategy as one line') }, [ line ]);

		ui.showModal(_('The strategy as one line'), [
			E('p', { 'dir': b4.direction() }, [ _('The browser does not let this page copy. Select the line and copy it.') ]), area,
			E('div', { 'class': 'right' }, [ E('button', { 'class': 'btn', 'click': ui.hideModal }, [ _('Close') ]) ])
		]);
		area.select();

		return false;
	});
}

/*
 * paste asks for a line, and gives take the texts that it has. What firstError finds
 * wrong in them is shown instead. A text alone is for proto.
 */
function paste(proto, firstError, take) {
	const area = E('textarea', {
		'class': 'b4-text', 'id': 'b4-paste', 'rows': 4, 'dir': 'ltr', 'spellcheck': 'false', 'autocapitalize': 'off',
		'placeholder': 'tls=split(midsld) disorder | quic=fake(repeat=6)', 'aria-describedby': 'b4-pasted'
	});
	const note = E('div', { 'class': 'b4-error', 'id': 'b4-pasted', 'role': 'alert' });

	function use() {
		const texts = strategy.readLine(area.value, proto), bad = firstError(texts);

		if (bad) {
			dom.content(note, [ E('div', {}, [ '%s: %s'.format(TITLES[bad.proto], bad.text) ]), marked(texts[bad.proto], bad.pos) ]);
			area.focus();
			return;
		}

		ui.hideModal();
		take(texts);
	}

	ui.showModal(_('Paste a strategy'), [
		E('label', { 'for': 'b4-paste', 'dir': b4.direction() }, [
			_('A line as it was copied takes the place of the whole strategy. A text without a protocol in front is taken for %s.').format(TITLES[proto])
		]),
		area, note,
		E('div', { 'class': 'right' }, [
			E('button', { 'class': 'btn', 'click': ui.hideModal }, [ _('Cancel') ]), ' ',
			E('button', { 'class': 'btn cbi-button-action important', 'click': use }, [ _('Use it') ])
		])
	]);
	area.focus();
}

return baseclass.extend({
	TITLES: TITLES,
	copy: copy,
	marked: marked,
	paste: paste
});
