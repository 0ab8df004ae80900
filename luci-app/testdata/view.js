// In place of LuCI: loads the view VIEW anew for each of CASES, gives it replies
// (what each method of luci.b4 returns) and config (the section main), and prints
// what it shows, a line each: an array of texts. Children that are not in an
// array become HTML in LuCI: an error.
'use strict';

const fs = require('fs');
const [ file, cases ] = process.argv.slice(2);
let replies, config, readonly, calls, lines; // of the case at hand

function content(node, children) {
	if (!Array.isArray(children) && !(children && children.tag))
		throw new Error('not in an array: ' + JSON.stringify(children));

	node.children = Array.isArray(children) ? children : [ children ];
}

function E(tag, attrs, children) {
	const node = { tag, attrs: attrs || {}, children: [], style: {} };

	if (children !== undefined)
		content(node, children);

	return node;
}

function text(node) {
	return node.tag ? node.children.map(text).join('') : String(node);
}

function show(node, lines) {
	if (!node.tag || node.style.display == 'none')
		return lines;

	const kind = node.attrs['class'] || '';

	if (/^(h2|h3|p|em|td)$/.test(node.tag) && !node.children.some(c => c.tag))
		lines.push(text(node));
	else if (/label|btn/.test(kind))
		lines.push('[' + text(node) + ']' + (node.attrs.disabled ? ' disabled' : ''));

	node.children.forEach(c => show(c, lines));

	return lines;
}

String.prototype.format = function() {
	let i = 0;

	return this.replace(/%[ds]/g, () => arguments[i++]);
};

const libs = {
	view: { extend: proto => proto },
	dom: { content },
	poll: { add: fn => { libs.polled = fn } },
	rpc: {
		declare: spec => function() {
			if (spec.object != 'luci.b4')
				throw new Error('unexpected object ' + spec.object);

			calls.push(spec.method + '(' + Array.from(arguments).join(',') + ')');

			return (spec.method in replies) ? Promise.resolve(replies[spec.method]) : Promise.reject(new Error('not found'));
		}
	},
	uci: { load: () => Promise.resolve(), unload: () => {}, get: (c, s, o) => config[o] },
	ui: {
		createHandlerFn: (self, name, arg) => () => self[name](arg),
		addNotification: (title, node, kind) => lines.push('notification ' + kind + ': ' + text(node))
	}
};

const L = {
	bind: (fn, self) => fn.bind(self),
	hasViewPermission: () => !readonly,
	resolveDefault: (promise, value) => Promise.resolve(promise).catch(() => value)
};

function buttons(node) {
	return (node.tag == 'button') ? [ node ] : (node.children || []).flatMap(buttons);
}

async function shown(c) {
	({ replies, config, readonly } = c);
	calls = [];
	lines = [];
	libs.polled = null;

	const source = fs.readFileSync(file, 'utf8');
	const names = Array.from(source.matchAll(/'require (\w+)';/g), m => m[1]);
	const view = new Function('L', 'E', '_', ...names, source)(L, E, s => s, ...names.map(n => libs[n]));
	const page = view.render(await view.load());

	if (!libs.polled)
		throw new Error('nothing is polled');

	await libs.polled();
	show(page, lines);

	calls.length = 0;
	for (const b of buttons(page)) {
		if (!b.style.display && !b.attrs.disabled)
			await b.attrs.click();
	}
	lines.push('called ' + calls.join(' '));

	return lines.join('\n') + '\n';
}

(async function() {
	const texts = [];

	for (const c of JSON.parse(cases))
		texts.push(await shown(c));
	console.log(JSON.stringify(texts));
})().catch(err => { console.error(err); process.exit(1) });
