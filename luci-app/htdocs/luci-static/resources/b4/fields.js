'use strict';
'require baseclass';
'require b4.steps as words';

/*
 * The fields of a step's card, one for each parameter. values are what the step gives
 * to the parameter, and set takes others when somebody enters them.
 */

/* choices are boxes to tick: any of the words. */
function choices(param, values, set) {
	const boxes = param.words.map(function(word) {
		return E('input', {
			'type': 'checkbox', 'value': word, 'checked': values.indexOf(word) >= 0 ? true : null,
			'change': function() {
				set(boxes.filter(function(box) { return box.checked }).map(function(box) { return box.value }));
			}
		});
	});

	return E('div', { 'class': 'b4-many' }, boxes.map(function(box) {
		return E('label', {}, [ box, ' ', E('code', { 'dir': 'ltr' }, [ box.value ]), ' ', words.word(box.value) ]);
	}));
}

/* list are fields for positions, and one more for another. */
function list(id, values, set) {
	const row = E('div', { 'class': 'b4-many' });

	function take() {
		const now = Array.from(row.querySelectorAll('input')).map(function(input) { return input.value.trim() });

		if (now[now.length - 1])
			add('');

		set(now.filter(function(value) { return value }));
	}

	function add(value) {
		const n = row.children.length + 1;

		row.appendChild(E('input', {
			'type': 'text', 'class': 'cbi-input-text', 'dir': 'ltr', 'list': id + '-marks', 'value': value, 'autocomplete': 'off', 'autocapitalize': 'off',
			'spellcheck': 'false', 'aria-label': _('Position %d').format(n), 'placeholder': value ? null : '+', 'input': take
		}));
	}

	values.concat([ '' ]).forEach(add);

	return row;
}

function select(id, param, values, set) {
	const node = E('select', { 'class': 'cbi-input-select', 'id': id, 'change': function() { set(node.value ? [ node.value ] : []) } });

	if (!param.required)
		node.appendChild(E('option', { 'value': '' }, [ param['default'] ? _('default: %s').format(param['default']) : '-' ]));

	param.words.forEach(function(word) {
		const said = words.word(word);

		node.appendChild(E('option', { 'value': word }, [ said ? '%s: %s'.format(word, said) : word ]));
	});
	node.value = values[0] || '';

	return node;
}

function input(id, param, values, set) {
	const isNumber = param.kind == 'number';

	return E('input', {
		'type': isNumber ? 'number' : 'text', 'class': 'cbi-input-text', 'id': id, 'dir': 'ltr', 'value': values[0] || '',
		'min': isNumber ? param.min : null, 'max': isNumber ? param.max : null, 'step': isNumber ? param.multiple || 1 : null,
		'placeholder': param['default'] || (isNumber ? '%d-%d'.format(param.min, param.max) : null), 'autocomplete': 'off', 'autocapitalize': 'off', 'spellcheck': 'false',
		'input': function(ev) {
			const value = ev.target.value.trim();

			set(value ? [ value ] : []);
		}
	});
}

/* field is that of a parameter; id is its own, editor that of what markers has made. */
function field(editor, id, spec, param, values, set) {
	const hint = words.hint(param), title = words.param(spec, param);

	if (param.many)
		return E('fieldset', { 'class': 'b4-wide' }, [
			E('legend', {}, [ title ]),
			param.words ? choices(param, values, set) : list(editor, values, set),
			E('div', { 'class': 'b4-hint' }, [ hint ])
		]);

	return E('div', { 'class': hint ? 'b4-wide' : null }, [
		E('label', { 'for': id }, [ title ]),
		param.words ? select(id, param, values, set) : input(id, param, values, set),
		E('div', { 'class': 'b4-hint' }, [ hint ])
	]);
}

/* markers are what browsers offer in the fields for positions. */
function markers(editor, lang) {
	return E('datalist', { 'id': editor + '-marks' }, lang.markers.map(function(marker) {
		return E('option', { 'value': marker.name }, [ words.marker(marker) ]);
	}));
}

return baseclass.extend({
	field: field,
	markers: markers
});
