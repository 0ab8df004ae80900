'use strict';
'require baseclass';
'require ui';
'require uci';
'require b4.common as b4';

/*
 * What a click may do about a finding, and how a page puts a change into force at once.
 */

const SETTLE = 1500; // ms that rpcd is given to take the confirmation

/* ask asks whether the changes that wait may be applied, too: LuCI applies all or none. */
function ask(changes, configs) {
	return new Promise(function(resolve) {
		function answer(yes) {
			return function() {
				ui.hideModal();
				resolve(yes);
			};
		}

		ui.showModal(_('Other changes are waiting'), [
			E('p', {}, [ _('These changes were saved and not applied yet. They take effect together with this one:') ]),
			E('ul', { 'class': 'b4-steps' }, configs.map(function(config) {
				return E('li', {}, [ _('%s: %d changes').format(b4.isolated(config), changes[config].length) ]);
			})),
			E('div', { 'class': 'right' }, [
				E('button', { 'class': 'btn cbi-button', 'click': answer(false) }, [ _('Cancel') ]), ' ',
				E('button', { 'class': 'btn cbi-button-action important', 'click': answer(true) }, [ _('Apply all of them') ])
			])
		]);
	});
}

/*
 * commit has set change the configuration and puts that into force. It resolves to
 * whether it did: not where the user minds that other changes are waiting.
 */
function commit(set) {
	return uci.changes().then(function(changes) {
		const waiting = Object.keys(changes).filter(function(config) { return changes[config].length > 0 });

		return waiting.length ? ask(changes, waiting) : true;
	}).then(function(yes) {
		if (!yes)
			return false;

		set();

		return uci.save().then(function() {
			return uci.apply();
		}).then(function() {
			return new Promise(function(resolve) { window.setTimeout(resolve, SETTLE) });
		}).catch(function() {
			throw new Error(_('The change is saved and could not be applied. Apply it by the button for unsaved changes at the top of the page.'));
		}).finally(function() {
			return ui.changes.init();
		}).then(function() { return true });
	});
}

/* software opens the page for packages, which has another name before 24.10, looking for one. */
function software(name) {
	return ui.menu.load().then(function(menu) {
		const system = menu.children.admin.children.system.children;
		const page = [ 'package-manager', 'opkg' ].filter(function(p) { return system[p] })[0];

		if (!page)
			throw new Error(_('This router has no page for packages. Install %s by its command line.').format(name));

		window.location = L.url('admin/system', page) + '?query=' + encodeURIComponent(name);
	});
}

/* copy puts a text into the clipboard, by a way that works without HTTPS as well. */
function copy(text) {
	const field = E('textarea', { 'readonly': '', 'style': 'position:fixed;opacity:0' }, [ text ]);

	document.body.appendChild(field);
	field.select();
	document.execCommand('copy');
	field.remove();
}

function link(text, path) {
	return E('a', { 'class': 'btn cbi-button', 'href': L.url(path) }, [ text ]);
}

/* offloads tells whether flows are offloaded by hardware. The firewall's configuration is loaded. */
function offloads() {
	return uci.get('firewall', '@defaults[0]', 'flow_offloading_hw') == '1';
}

/* cure is what can be clicked against a finding, an array; button(text, handler) makes buttons. */
function cure(f, button) {
	const settings = link(_('Settings'), 'admin/services/b4/settings'), rules = link(_('Rules'), 'admin/services/b4/rules');
	const args = f.args || [];

	switch (f.code) {
	case 'missing':
		return [ button(_('Install'), function() { return software(args[0]) }) ];
	case 'no_hellos':
	case 'offload_hardware':
	case 'offload_missed':
		return offloads() ? [ button(_('Switch off hardware offloading'), function() {
			return commit(function() { uci.set('firewall', '@defaults[0]', 'flow_offloading_hw', '0') });
		}) ] : [];
	case 'accounting':
	case 'uplink_sysctl':
		return [ button(_('Copy the line'), function() { copy(args[1]) }) ];
	case 'other_program':
	case 'stale':
		return [ link(_('Startup'), 'admin/system/startup') ];
	case 'refused':
		return [ settings, rules ];
	case 'devices':
		return [ rules ];
	case 'wan':
	case 'out':
	case 'no_wan':
	case 'lost':
		return [ settings ];
	case 'no_engine':
	case 'failing':
	case 'send_failed':
		return [ link(_('Log'), 'admin/services/b4/log') ];
	}

	return [];
}

return baseclass.extend({
	commit: commit,
	cure: cure,
	link: link
});
