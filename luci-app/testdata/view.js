// In place of LuCI: loads scripts of the app below the folder RESOURCES as its
// runtime does, and answers CASES, an array, with an array of what came of each.
// A case with expr is an expression of the module m, its file: its value is the
// answer. One with options lists those of the form that file is, each with which of
// them, as values, it takes by a test of its own. Another one opens the page in file
// with replies (what each method of an object returns, by 'object.method') and config
// (by package and section), and does what clicks says, an array of texts of buttons;
// the answer is what is seen then, a line each, and what was called since the page was
// drawn. LuCI's language is lang, and the browser prefers languages. Children that are
// not in an array become HTML in LuCI: an error.
'use strict';

const fs = require('fs');
const path = require('path');
const [ resources, cases ] = process.argv.slice(2);
let at; // the case at hand: replies, config, readonly, calls, lines, polled, form

function content(node, children) {
	if (!Array.isArray(children) && !(children && children.tag))
		throw new Error('not in an array: ' + JSON.stringify(children));

	node.children = (Array.isArray(children) ? children : [ children ]).filter(c => c != null);
}

class Node {
	constructor(tag) {
		Object.assign(this, { tag, attrs: {}, children: [], value: '', style: { setProperty: () => {} } });
	}

	setAttribute(name, value) { this.attrs[name] = value }
	getAttribute(name) { return this.attrs[name] }
	appendChild(child) { this.children.push(child) }
	set textContent(value) { this.children = [ value ] }
}

function E(tag, attrs, children) {
	const node = Object.assign(new Node(tag), { attrs: attrs || {} });

	if (children !== undefined)
		content(node, children);

	return node;
}

function text(node) {
	return node.tag ? node.children.map(text).join('') : String(node);
}

// show is what is seen of a node: texts, and buttons in brackets.
function show(node, lines) {
	if (!node.tag || node.style.display == 'none' || node.tag == 'style')
		return lines;

	if (node.tag == 'button' || /\bbtn\b/.test(node.attrs['class']))
		lines.push('[' + (text(node) || node.attrs['aria-label']) + ']' +
			(node.attrs.disabled ? ' disabled' : '') + (node.attrs['aria-checked'] ? ' ' + node.attrs['aria-checked'] : ''));
	else if (node.children.length && !node.children.some(c => c.tag))
		lines.push(text(node));
	else
		node.children.forEach(c => c.tag ? show(c, lines) : String(c).trim() && lines.push(String(c)));

	return lines;
}

function all(node, wanted) {
	return (wanted(node) ? [ node ] : []).concat((node.children || []).flatMap(c => all(c, wanted)));
}

String.prototype.format = function() {
	let i = 0;

	return this.replace(/%[ds]/g, () => arguments[i++]);
};

function called(name, args) {
	at.calls.push(name + '(' + args.map(a => JSON.stringify(a)).join(',') + ')');

	return (name in at.replies) ? Promise.resolve(at.replies[name]) : Promise.reject(new Error('not found'));
}

const section = (c, s) => (at.config[c] || {})[s];

// form records the options of a page in at.form.
class Option {
	constructor(kind, section, tab, name) {
		Object.assign(this, { kind, section, tab, name, values: [] });
	}

	value(v) { this.values.push(v) }
	depends() {}
}

class Section {
	constructor(type) { Object.assign(this, { sectiontype: type, children: [] }) }
	tab() {}
	option(kind, name) { return this.taboption('', kind, name) }
	taboption(tab, kind, name) {
		const option = new Option(kind, this.sectiontype, tab, name);

		at.form.push(option);
		this.children.push(option);

		return option;
	}
}

class Map {
	section(kind, name, type) { return new Section(type) }
	render() { return Promise.resolve(E('div', {}, [ 'form' ])) }
}

const libs = {
	view: { extend: proto => proto },
	baseclass: { extend: proto => proto },
	dom: { content },
	poll: { add: fn => { at.polled = fn } },
	form: { Map, NamedSection: 'NamedSection', Flag: 'Flag', Value: 'Value', ListValue: 'ListValue', DynamicList: 'DynamicList' },
	'tools.widgets': { NetworkSelect: 'NetworkSelect', DeviceSelect: 'DeviceSelect' },
	rpc: {
		declare: spec => function() {
			return called(spec.object + '.' + spec.method, Array.from(arguments)).then(reply => {
				const name = Object.keys(spec.expect || { '': null })[0];

				return name ? (reply[name] || spec.expect[name]) : reply;
			});
		}
	},
	uci: {
		load: name => called('uci.get', [ name ]).catch(() => {}),
		unload: () => {},
		get: (c, s, o) => o ? (section(c, s) || {})[o] : section(c, s),
		set: (c, s, o, v) => { at.calls.push('uci.set(' + [ c, s, o, v ].map(a => JSON.stringify(a)).join(',') + ')') },
		save: () => called('uci.save', []).catch(() => {}),
		apply: () => called('uci.apply', []),
		changes: () => Promise.resolve(at.changes || {})
	},
	ui: {
		createHandlerFn: (self, fn) => () => (typeof(fn) == 'string' ? self[fn] : fn).call(self),
		addNotification: (title, node, kind) => at.lines.push('notification ' + kind + ': ' + text(node)),
		changes: { init: () => {}, get changes() { return at.changes } },
		menu: { load: () => Promise.resolve(at.menu) },
		showModal: (title, nodes) => { at.modal = E('div', {}, [ title ].concat(nodes)) },
		hideModal: () => { at.modal = null }
	}
};

const window = { setTimeout: fn => setImmediate(fn), location: {} };
const document = { documentElement: { get lang() { return at.lang || 'en' } }, getElementById: () => null, createElementNS: (ns, tag) => new Node(tag) };
const navigator = { get languages() { return at.languages || [ 'en-US' ] } };
const L = {
	bind: (fn, self, ...args) => fn.bind(self, ...args),
	hasViewPermission: () => !at.readonly,
	resolveDefault: (promise, value) => Promise.resolve(promise).catch(() => value),
	url: (...parts) => '/' + parts.join('/'),
	toArray: v => (v == null) ? [] : Array.isArray(v) ? v : String(v).split(/\s+/)
};

// load is what a script returns, given what it requires.
function load(file) {
	const source = fs.readFileSync(path.join(resources, file), 'utf8');
	const wants = Array.from(source.matchAll(/^'require ([\w.-]+)(?: as (\w+))?';$/gm), m => ({ name: m[1], as: m[2] || m[1] }));
	const given = wants.map(w => w.name in libs ? libs[w.name] : load(w.name.replace(/\./g, '/') + '.js'));

	return new Function('L', 'E', '_', 'window', 'document', 'navigator', ...wants.map(w => w.as), source)(L, E, s => s, window, document, navigator, ...given);
}

// settled waits until nothing is under way any more.
async function settled() {
	for (let i = 0; i < 200; i++)
		await new Promise(resolve => setImmediate(resolve));
}

async function opened(page) {
	const data = await (page.load ? page.load() : null);
	const node = (await page.render(data)) || E('p', {}, [ '<nothing>' ]);

	if (at.polled)
		await at.polled();
	await settled();
	at.drawn = at.calls.splice(0);

	for (const wanted of at.clicks || []) {
		const root = at.modal || node;
		const button = all(root, n => n.attrs && n.attrs.click && (text(n) || n.attrs['aria-label']) == wanted && !n.attrs.disabled)[0];

		if (!button)
			throw new Error('no button ' + wanted + ' in\n' + show(root, []).join('\n'));
		button.attrs.click();
		await settled();
	}

	const seen = show(node, []).concat(at.modal ? show(at.modal, []) : [], at.lines, window.location);

	return seen.concat('called ' + at.calls.join(' '), 'drawn by ' + at.drawn.join(' ')).join('\n') + '\n';
}

// recorded are the options of a form, each with which of values it takes.
function recorded(values) {
	return JSON.stringify(at.form.map(o => Object.assign(o, {
		section: o.ucisection || o.section, taken: values.filter(v => !o.validate || o.validate('', v) === true)
	})));
}

(async function() {
	const answers = [];

	for (const c of JSON.parse(cases)) {
		at = Object.assign({ replies: {}, config: {}, calls: [], lines: [], form: [] }, c);
		window.location = [];

		const script = load(c.file);

		if (c.expr)
			answers.push(JSON.stringify(await new Function('m', 'return ' + c.expr)(script)));
		else if (c.options)
			answers.push((await script.render(await script.load()), recorded(c.options)));
		else
			answers.push(await opened(script));
	}
	console.log(JSON.stringify(answers));
})().catch(err => { console.error(err); process.exit(1) });
