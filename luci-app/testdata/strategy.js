// In place of LuCI: loads the module FILE of functions that touch no page, and prints
// what they return, of calls [ name, arguments... ] on the standard input, as JSON.
'use strict';

const fs = require('fs');
const path = require('path');

String.prototype.format = function() {
	let i = 0;

	return this.replace(/%(%|[ds]|\.2f)/g, (all, kind) => kind == '%' ? '%' : kind == '.2f' ? arguments[i++].toFixed(2) : arguments[i++]);
};

let timers = [];

function setTimer(fn) {
	timers.push(fn);

	return timers.length;
}

const libs = { baseclass: { extend: members => members }, rpc: { declare: () => null } };

function load(file) {
	const source = fs.readFileSync(file, 'utf8');
	const wants = Array.from(source.matchAll(/^'require ([\w.]+)(?: as (\w+))?';$/gm), m => ({ name: m[1], as: m[2] || m[1] }));
	const given = wants.map(w => libs[w.name] || load(path.join(path.dirname(file), w.name.replace('b4.', '') + '.js')));

	return new Function('_', 'document', 'setTimeout', 'clearTimeout', ...wants.map(w => w.as), source)(
		s => s, { documentElement: { lang: 'en' } }, setTimer, n => { timers[n - 1] = null }, ...given);
}

// Time passes: what waits is done.
async function pass() {
	const due = timers;

	timers = [];
	due.forEach(fn => fn && fn());
	await new Promise(resolve => setImmediate(resolve));
}

// What latest asks and shows while somebody types abc, and d before b4d has answered
// about that, and e when it has, about which it fails.
async function typed(latest) {
	const lines = [], answers = [];
	let most = 0, flying = 0;
	const type = latest(function(text) {
		lines.push('ask ' + text);
		most = Math.max(most, ++flying);

		return new Promise((resolve, reject) => answers.push(text == 'e' ? reject : resolve)).finally(() => flying--);
	}, (text, err, answer) => lines.push('show ' + text + ' ' + (err || answer)), 300);
	const answer = async what => {
		answers.shift()(what);
		await new Promise(resolve => setImmediate(resolve));
	};

	type('a');
	type('ab');
	type('abc');
	await pass();
	type('abcd');
	await pass();
	await answer('good');
	await answer('fine');
	type('e');
	await pass();
	await answer('gone');
	lines.push(most + ' at once');

	return lines;
}

// What takes more than one function, as the page does it.
const composed = {
	latest: m => typed(m.latest),

	// Each step that the menu has for a text, added to it.
	added: (m, lang, text) => {
		const steps = m.parse(text).steps;

		return m.menu(lang, steps).flatMap(group => group.steps).map(spec => m.print(m.insert(lang, steps, m.fresh(lang, spec)).steps));
	},

	// A step with other values for a parameter.
	edited: (m, lang, text, name, values) => {
		const step = m.parse(text).steps[0], spec = m.spec(lang, step.name);

		return m.printStep(m.withValues(spec, step, m.params(spec).find(param => param.name == name), values));
	},

	// A step moved, null where it may not be.
	moved: (m, lang, text, from, to) => {
		const steps = m.parse(text).steps;

		return m.mayMove(lang, steps, from, to) ? m.print(m.move(steps, from, to)) : null;
	}
};

(async function() {
	const module = load(process.argv[2]);
	const results = [];

	for (const [ name, ...args ] of JSON.parse(fs.readFileSync(0, 'utf8')))
		results.push(composed[name] ? await composed[name](module, ...args) : module[name](...args));

	console.log(JSON.stringify(results));
})().catch(err => { console.error(err); process.exit(1) });
