'use strict';
'require baseclass';

/*
 * The text of a strategy, read and written as b4d does: steps, each with arguments.
 * A step is { name, args, at, end }, an argument { key, val, at }; at and end are
 * places in the text, key is '' where the value stands alone. What is made of steps
 * here are new steps, and a text is whatever print makes of them. A language is what
 * the method strategies tells of one protocol.
 */

const PROTOS = [ 'tls', 'quic', 'http' ];
const PHASES = [ 'syn', 'message', 'packet' ];

/* Bounds of b4d's parser. */
const MAX_TEXT = 1024; // bytes
const MAX_STEPS = 16, MAX_ARGS = 16;
const MAX_OFFSET = 16384;

/* What a new step begins with where the least number would be a bad choice. */
const START = { wsize: '40', seqovl: '8', ipfrag: '32', delay: '20', hostspell: 'HOST' };

/* parse reads a text as far as it can: error is null, or where it ends and why. */
function parse(text) {
	const steps = [];
	let pos = 0, error = null;

	function fail(at, msg) {
		error = error || { pos: at, text: msg };
	}

	function space() {
		while (text[pos] == ' ' || text[pos] == '\t')
			pos++;
	}

	function word() {
		const start = pos;

		while (pos < text.length && ' \t(),='.indexOf(text[pos]) < 0)
			pos++;

		return text.slice(start, pos);
	}

	function is(c) {
		space();

		if (text[pos] != c)
			return false;

		pos++;
		return true;
	}

	function argument() {
		space();

		const arg = { key: '', at: pos };

		arg.val = word();
		if (is('=')) {
			if (!arg.val)
				fail(arg.at, _('A name must stand in front of =.'));

			space();
			arg.key = arg.val;
			arg.at = pos;
			arg.val = word();
		}
		if (!arg.val)
			fail(arg.at, _('A value is missing.'));

		return arg;
	}

	for (space(); pos < text.length && !error; space()) {
		const step = { at: pos, name: word(), args: [], end: pos };

		if (!step.name) {
			fail(pos, _('A step must stand here.'));
			break;
		}

		step.end = pos;
		if (is('(')) {
			do {
				step.args.push(argument());
			} while (!error && is(','));

			if (!is(')'))
				fail(pos, _('A comma or a closing bracket is missing.'));

			step.end = pos;
		}
		else {
			pos = step.end;
		}

		steps.push(step);
	}

	return { steps: steps, error: error };
}

function printStep(step) {
	return step.name + (step.args.length ? '(' + step.args.map(function(arg) {
		return (arg.key ? arg.key + '=' : '') + arg.val;
	}).join(', ') + ')' : '');
}

function print(steps) {
	return steps.map(printStep).join(' ');
}

/* language is what help, a reply of the method strategies, says of one protocol. */
function language(help, proto) {
	function isOurs(entry) {
		return entry['for'].indexOf(proto) >= 0;
	}

	return { proto: proto, all: help.steps, steps: help.steps.filter(isOurs), markers: help.markers.filter(isOurs) };
}

/* specOf is what the language says of a step, undefined where it is unknown. */
function specOf(lang, name) {
	return lang.steps.find(function(spec) { return spec.name == name });
}

function paramsOf(spec) {
	return spec.params || [];
}

/* bind finds the parameter of each argument of a step, null where there is none. */
function bind(spec, args) {
	const bound = [];

	args.forEach(function(arg) {
		const params = paramsOf(spec).filter(function(param) { return param.keyed ? param.name == arg.key : !arg.key });

		bound.push(
			params.find(function(param) {
				return param.keyed || (param.kind == 'word' && param.words.indexOf(arg.val) >= 0);
			}) ||
			params.find(function(param) {
				return param.kind != 'word' && (param.many || bound.indexOf(param) < 0);
			}) || null);
	});

	return bound;
}

/* valuesOf are the values that a step gives to a parameter. */
function valuesOf(spec, step, param) {
	const bound = bind(spec, step.args);

	return step.args.filter(function(arg, i) { return bound[i] == param }).map(function(arg) { return arg.val });
}

/* withValues is a step with other values for a parameter, in the place of the old. */
function withValues(spec, step, param, values) {
	const bound = bind(spec, step.args);
	const order = paramsOf(spec);
	const args = values.map(function(val) { return { key: param.keyed ? param.name : '', val: val } });
	let at = bound.indexOf(param);

	if (at < 0)
		at = bound.filter(function(other) { return other && order.indexOf(other) < order.indexOf(param) }).length;

	const kept = step.args.filter(function(arg, i) { return bound[i] != param });

	return { name: step.name, args: kept.slice(0, at).concat(args, kept.slice(at)) };
}

/* wrongPosition is what is wrong with a position, '' where it is right. */
function wrongPosition(lang, val) {
	const parts = /^([^+-]*)([+-].*)?$/.exec(/^[0-9]/.test(val) ? '+' + val : val);
	const name = parts[1], number = parts[2] || '';

	if (number && (!/^[+-][0-9]+$/.test(number) || Math.abs(number) > MAX_OFFSET))
		return _('%s is not a number from %d to %d.').format(number, -MAX_OFFSET, MAX_OFFSET);
	if (!name && !+number)
		return _('Position 0 cuts nothing off.');
	if (name && !lang.markers.some(function(marker) { return marker.name == name }))
		return _('%s is not a place in the message. Use a number or one of: %s.').format(name, lang.markers.map(function(marker) {
			return marker.name;
		}).join(', '));

	return '';
}

function wrongNumber(param, val) {
	const n = /^[+-]?[0-9]+$/.test(val) ? +val : NaN;

	if (!(n >= param.min && n <= param.max))
		return _('%s is not a number from %d to %d.').format(val, param.min, param.max);
	if (param.multiple > 1 && n % param.multiple)
		return _('%s is not a multiple of %d.').format(val, param.multiple);

	return '';
}

function wrongDistance(val) {
	const parts = /^(auto)?([+-]?[0-9]+)?$/.exec(val);
	const n = parts ? +(parts[2] || 0) : 0;

	if (parts && parts[1] ? (!parts[2] || /^[+-]/.test(parts[2])) && Math.abs(n) <= 20 : n >= 1 && n <= 255)
		return '';

	return _('%s is not a TTL: use 1 to 255, auto, or auto with up to 20 added or taken off, such as auto-1.').format(val);
}

/* wrong is what is wrong with a value of a parameter, '' where nothing is. */
function wrong(lang, param, val) {
	switch (param.kind) {
	case 'number':
		return wrongNumber(param, val);
	case 'word':
		return param.words.indexOf(val) >= 0 ? '' : _('%s is none of: %s.').format(val, param.words.join(', '));
	case 'position':
		return wrongPosition(lang, val);
	case 'host':
		return (/^[A-Za-z0-9.-]{1,253}$/).test(val) ? '' : _('%s is not a site name.').format(val);
	case 'path':
		return (/^\/[^ \t(),=]*$/).test(val) ? '' : _('%s is not an absolute path.').format(val);
	case 'ttl':
		return wrongDistance(val);
	}

	return '';
}

/* needsFooling reports whether a server would read the decoys of a step as they are; those of QUIC it never does. */
function needsFooling(lang, spec) {
	return lang.proto != 'quic' && paramsOf(spec).some(function(param) { return param.name == 'ttl' });
}

/* checkArgs is the first error in the arguments of a step, or null. */
function checkArgs(lang, spec, step) {
	const bound = bind(spec, step.args);
	const params = paramsOf(spec);

	function has(name) {
		return bound.some(function(param) { return param && param.name == name });
	}

	for (let i = 0; i < bound.length; i++) {
		const arg = step.args[i], param = bound[i];
		let text;

		if (!params.length)
			text = _('%s takes no values.').format(step.name);
		else if (!param)
			text = _('%s does not take %s.').format(step.name, arg.key ? arg.key + '=' : arg.val);
		else if (!param.many && bound.indexOf(param) < i)
			text = _('%s takes only one value for %s.').format(step.name, param.name);
		else
			text = wrong(lang, param, arg.val);

		if (text)
			return { pos: arg.at, text: text };
	}

	const missing = params.find(function(param) { return param.required && bound.indexOf(param) < 0 });

	if (missing)
		return { pos: step.end, text: _('%s needs a value: %s.').format(step.name, missing.name) };
	if (needsFooling(lang, spec) && !has('ttl') && !has('fooling'))
		return { pos: step.end, text: _('The server would read this decoy. Set a TTL, or tick what else keeps the server from reading it.') };

	return null;
}

/* checkStep is the first error in a step that follows others, or null. */
function checkStep(lang, step, ahead) {
	const spec = specOf(lang, step.name);

	if (!spec && lang.all.some(function(other) { return other.name == step.name }))
		return { pos: step.at, text: _('The step %s is for another protocol.').format(step.name) };
	if (!spec)
		return { pos: step.at, text: _('There is no step %s.').format(step.name) };

	const later = ahead.find(function(other) {
		return PHASES.indexOf(specOf(lang, other.name).phase) > PHASES.indexOf(spec.phase);
	});
	if (later)
		return { pos: step.at, text: _('%s must stand in front of %s.').format(step.name, later.name) };
	if (spec.once && ahead.some(function(other) { return other.name == step.name }))
		return { pos: step.at, text: _('%s may stand only once.').format(step.name) };

	return checkArgs(lang, spec, step);
}

/* check is the first error that can be found without b4d: { pos, text }, or null. */
function check(lang, text) {
	const read = parse(text);

	if (new TextEncoder().encode(text).length > MAX_TEXT)
		return { pos: text.length, text: _('The text is longer than %d bytes.').format(MAX_TEXT) };

	for (let i = 0; lang && i < read.steps.length; i++) {
		const step = read.steps[i];
		let error = null;

		if (read.error && i == read.steps.length - 1)
			break; // it was not read to its end
		if (i == MAX_STEPS)
			error = { pos: step.at, text: _('There are more than %d steps.').format(MAX_STEPS) };
		else if (step.args.length > MAX_ARGS)
			error = { pos: step.args[MAX_ARGS].at, text: _('There are more than %d values.').format(MAX_ARGS) };
		else
			error = checkStep(lang, step, read.steps.slice(0, i));
		if (error)
			return error;
	}

	return read.error;
}

/* stepAt is which of steps has the character at pos, -1 if none does. */
function stepAt(steps, pos) {
	for (let i = steps.length - 1; i >= 0; i--)
		if (steps[i].at <= pos)
			return i;

	return -1;
}

function phaseOf(lang, step) {
	const spec = specOf(lang, step.name);

	return spec ? PHASES.indexOf(spec.phase) : -1;
}

/* menu lists the steps that may be added, by phases. */
function menu(lang, steps) {
	return PHASES.map(function(phase) {
		return {
			phase: phase,
			steps: lang.steps.filter(function(spec) {
				return spec.phase == phase && !(spec.once && steps.some(function(step) { return step.name == spec.name }));
			})
		};
	}).filter(function(group) { return group.steps.length && steps.length < MAX_STEPS });
}

/* fresh is a step as it is added: with what it must have. */
function fresh(lang, spec) {
	const args = [];

	paramsOf(spec).forEach(function(param) {
		if (param.required)
			args.push({ key: '', val: START[spec.name] || (param.kind == 'position' ? 'midsld' : param.words ? param.words[0] : String(param.min)) });
		else if (param.name == 'ttl' && needsFooling(lang, spec))
			args.push({ key: 'ttl', val: 'auto' });
	});

	return { name: spec.name, args: args };
}

/* insert adds a step behind all that may stand ahead of it, and returns its place too. */
function insert(lang, steps, step) {
	const phase = phaseOf(lang, step);
	let at = 0;

	steps.forEach(function(other, i) {
		if (phaseOf(lang, other) <= phase)
			at = i + 1;
	});

	return { at: at, steps: steps.slice(0, at).concat([ step ], steps.slice(at)) };
}

/* mayMove reports whether step from may stand at place to: within its phase. */
function mayMove(lang, steps, from, to) {
	return from != to && to >= 0 && to < steps.length && phaseOf(lang, steps[from]) == phaseOf(lang, steps[to]);
}

function move(steps, from, to) {
	const moved = steps.slice();

	moved.splice(to, 0, moved.splice(from, 1)[0]);

	return moved;
}

function replace(steps, at, step) {
	return steps.slice(0, at).concat(step ? [ step ] : [], steps.slice(at + 1));
}

/*
 * The line for forums has a strategy's texts: tls=… | quic=… | http=…, without those
 * that are empty. No text has a bar between two blanks, so each can be cut out again.
 */
function line(texts) {
	return PROTOS.filter(function(proto) { return texts[proto] }).map(function(proto) {
		return proto + '=' + texts[proto];
	}).join(' | ');
}

/* clean takes off what forums and chats do to a line. */
function clean(text) {
	return text.replace(/[\s\u200b\ufeff]+/g, ' ').replace(/[\u2010-\u2015\u2212]/g, '-').replace(/^[ `"'\u201c\u201d]+|[ `"'\u201c\u201d]+$/g, '');
}

/*
 * readLine reads a line as line writes it, options as in /etc/config/b4, or a text
 * alone for the protocol at hand. It returns the texts it names; those that a line
 * leaves out are empty then.
 */
function readLine(text, proto) {
	const options = text.match(/\boption\s+(tls|quic|http)\s+('[^']*'|"[^"]*")/g);
	const plain = options ? options.map(function(option) {
		return option.replace(/^option\s+(\w+)\s+.([^]*).$/, '$1=$2');
	}).join(' | ') : clean(text);
	const texts = {};

	if (!/^(tls|quic|http)\s*=/i.test(plain)) {
		texts[proto] = plain;
		return texts;
	}

	PROTOS.forEach(function(p) { texts[p] = '' });
	plain.split(/\s*\|\s*(?=(?:tls|quic|http)\s*=)/i).forEach(function(part) {
		const at = part.indexOf('=');

		texts[part.slice(0, at).trim().toLowerCase()] = clean(part.slice(at + 1));
	});

	return texts;
}

/* strategyOf is the strategy that a rule names, or the one that it has without. */
function strategyOf(rule) {
	const treats = [ rule.action || 'desync', rule.quic ].indexOf('desync') >= 0;

	return rule.strategy || (treats ? 'default' : null);
}

/* users are the names of the rules that have a strategy, or their numbers. */
function users(rules, name) {
	return rules.map(function(rule, i) {
		return strategyOf(rule) == name ? (rule['.anonymous'] ? '#%d'.format(i + 1) : rule['.name']) : null;
	}).filter(function(rule) { return rule });
}

/*
 * latest makes a function that asks about the last thing it was given, when nothing
 * new has come for a while and the answer about the one before is there.
 */
function latest(ask, show, delay) {
	let timer = null, waiting = null, busy = false;

	function go() {
		timer = null;
		if (busy || !waiting)
			return;

		const now = waiting;

		waiting = null;
		busy = true;

		return ask(now).then(function(answer) { return [ null, answer ] }, function(err) { return [ err ] }).then(function(got) {
			busy = false;
			show(now, got[0], got[1]);
			if (!timer)
				go();
		});
	}

	return function(what) {
		waiting = what;
		if (timer)
			clearTimeout(timer);

		timer = setTimeout(go, delay);
	};
}

return baseclass.extend({
	PROTOS: PROTOS,
	check: check,
	fresh: fresh,
	insert: insert,
	language: language,
	latest: latest,
	line: line,
	mayMove: mayMove,
	menu: menu,
	move: move,
	params: paramsOf,
	parse: parse,
	print: print,
	printStep: printStep,
	readLine: readLine,
	replace: replace,
	spec: specOf,
	stepAt: stepAt,
	users: users,
	values: valuesOf,
	withValues: withValues
});
