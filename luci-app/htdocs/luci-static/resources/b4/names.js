'use strict';
'require baseclass';
'require rpc';
'require uci';
'require b4.entry as entry';

/* The names of sections, which stand beside each other in one file whatever they are. */

const rename = rpc.declare({ object: 'uci', method: 'rename', params: [ 'config', 'section', 'name' ], reject: true });

/* wrong is why no rule or strategy may be called name, '' if one may. */
function wrong(name, taken) {
	if (!/^[A-Za-z0-9_]{1,64}$/.test(name))
		return _('A name has letters without accents, digits and underscores.');
	if (name == 'auto')
		return _('The name auto stands for the choice that b4 makes by itself.');
	if (taken || entry.isReserved(name))
		return _('The name %s is taken.').format(name);

	return '';
}

/*
 * save saves what has changed in b4's configuration, and then calls sections by other
 * names, given by those that they had. It all goes in one request, where LuCI puts
 * what is asked at once, so that nothing is saved of it if the router is gone.
 */
function save(renames) {
	const saved = uci.save(), olds = Object.keys(renames);

	return olds.length ? Promise.all([ saved ].concat(olds.map(function(old) {
		return rename('b4', old, renames[old]);
	}))).then(function() {
		uci.unload('b4');

		return uci.load('b4');
	}) : saved;
}

return baseclass.extend({
	save: save,
	wrong: wrong
});
