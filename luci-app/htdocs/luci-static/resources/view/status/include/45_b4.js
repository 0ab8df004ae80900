'use strict';
'require baseclass';
'require b4.common as b4';

/* The card of b4 on the status page. Where b4 does not run, or may not be asked, there is none. */

function label(status) {
	if (!status)
		return _('Off');
	if (status.paused_until)
		return _('Paused until %s').format(b4.clock(status.paused_until));

	return status.enabled ? _('On') : _('Off');
}

/* table is a card of pairs of texts, the first of which leads to b4's own pages. */
function table(pairs) {
	return E('table', { 'class': 'table' }, pairs.map(function(pair, i) {
		return E('tr', { 'class': 'tr' }, [
			E('td', { 'class': 'td left', 'width': '33%' }, [ pair[0] ]),
			E('td', { 'class': 'td left', 'style': b4.BREAKING }, [ i ? pair[1] : E('a', { 'href': L.url('admin/services/b4') }, [ pair[1] ]) ])
		]);
	}));
}

return baseclass.extend({
	title: 'b4',

	/* load never fails: a card that did once is never asked again. */
	load: function() {
		return L.resolveDefault(b4.call.status(), null);
	},

	/* render returns the card it made before unless it says something else now. */
	render: function(status) {
		if (!status && !this.card)
			return null;

		const worst = status && [ 'error', 'warning' ].reduce(function(found, weight) {
			return found || status.health.filter(function(f) { return b4.weight(f) == weight })[0];
		}, null);
		const pairs = [ [ _('State'), label(status) ] ];

		if (status)
			pairs.push([ _('Connections opened with the help of b4'), b4.number(b4.count(status, [ 'opened' ])) ]);
		if (worst)
			pairs.push([ _('Problem'), b4.finding(worst) ]);

		const key = JSON.stringify(pairs);

		if (this.key !== key)
			this.card = table(pairs);
		this.key = key;

		return this.card;
	}
});
