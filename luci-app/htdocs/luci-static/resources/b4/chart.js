'use strict';
'require baseclass';
'require b4.common as b4';

/*
 * Charts of counters: pure functions that make rates of samples and paths of rates,
 * and one that draws them. Colours are the theme's own.
 */

const KEPT = 61;        // samples: five minutes, at one each five seconds
const YOUNG = 2000;     // ms
const GAP = 20000;      // ms; between samples further apart nothing is drawn
const WIDTH = 300, HEIGHT = 64, MINUTES = 5;

/*
 * push adds a sample { time, … } of counters, unless the last is so young that a rate
 * between them says nothing; what is too old to be drawn goes.
 */
function push(samples, sample) {
	const from = sample.time - MINUTES * 60000;
	const kept = samples.filter(function(s) { return s.time > from && s.time <= sample.time }).slice(1 - KEPT);
	const last = kept[kept.length - 1];

	return (last && sample.time - last.time < YOUNG) ? kept : kept.concat([ sample ]);
}

/*
 * rates are how much a counter grew within per ms up to each sample, taken over at most
 * span ms, or null where that is not known: behind a gap, and where it began anew.
 */
function rates(samples, key, per, span) {
	let first = 0;

	return samples.map(function(s, i) {
		const before = samples[i - 1];

		if (!before || s.time - before.time > GAP || s[key] < before[key])
			first = i;
		while (s.time - samples[first].time > span)
			first++;

		return (first < i) ? (s[key] - samples[first][key]) * per / (s.time - samples[first].time) : null;
	});
}

/* top is a round number that no value is above, at least 1. */
function top(values) {
	const most = Math.max.apply(null, values.concat([ 1 ]));
	const unit = Math.pow(10, Math.floor(Math.log10(most)));

	return [ 1, 2, 3, 4, 5, 6, 8, 10 ].map(function(n) { return n * unit }).filter(function(n) { return n >= most })[0];
}

/* runs are the points [x, y] of values, cut where one is null; the last value is at the end. */
function runs(samples, values, most) {
	const end = samples.length ? samples[samples.length - 1].time : 0;
	const all = [ [] ];

	values.forEach(function(value, i) {
		if (value == null)
			all.push([]);
		else
			all[all.length - 1].push([
				WIDTH - (end - samples[i].time) / (MINUTES * 60000) * WIDTH,
				HEIGHT - value / most * HEIGHT
			].map(function(n) { return Math.round(n * 10) / 10 }));
	});

	return all.filter(function(run) { return run.length > 0 });
}

/* line is the path through runs of points, area the one around what is below them. */
function line(all) {
	return all.map(function(run) { return 'M' + run.join('L') }).join('');
}

function area(all) {
	return all.map(function(run) {
		return 'M%d,%dL'.format(run[0][0], HEIGHT) + run.join('L') + 'V%dZ'.format(HEIGHT);
	}).join('');
}

/* number is a rate in few digits. */
function number(value) {
	return (value == null) ? '–' : b4.number(value.toFixed(value < 9.95 ? 1 : 0));
}

function svg(tag, attrs, children) {
	const node = document.createElementNS('http://www.w3.org/2000/svg', tag);

	for (const name in attrs)
		node.setAttribute(name, attrs[name]);
	(children || []).forEach(function(child) { node.appendChild(child) });

	return node;
}

/*
 * create makes a chart of the counter key of samples: what.title is its name, what.unit a
 * text with %s for the rate, what.per and what.span are those of rates, in ms. Its update
 * takes samples and a text to stand below.
 */
function create(key, what) {
	const value = E('strong', { 'class': 'b4-value' }), most = E('span'), note = E('span');
	const fill = svg('path', { 'fill': 'currentColor', 'fill-opacity': '.15' });
	const stroke = svg('path', {
		'fill': 'none', 'stroke': 'currentColor', 'stroke-width': '2', 'stroke-linejoin': 'round', 'vector-effect': 'non-scaling-stroke'
	});
	const picture = svg('svg', {
		'viewBox': '0 -2 %d %d'.format(WIDTH, HEIGHT + 4), 'preserveAspectRatio': 'none', 'role': 'img', 'style': 'color:' + what.colour
	}, [ 0, .5, 1 ].map(function(part) {
		return svg('path', { 'd': 'M0,%d'.format(part * HEIGHT) + 'H%d'.format(WIDTH), 'stroke': 'gray', 'stroke-opacity': '.3', 'vector-effect': 'non-scaling-stroke' });
	}).concat([ fill, stroke ]));
	const node = E('div', { 'class': 'b4-card b4-chart' }, [
		E('div', { 'class': 'b4-row' }, [ E('span', {}, [ what.title ]), most ]),
		value, picture, note
	]);

	return {
		node: node,
		update: function(samples, text) {
			const values = rates(samples, key, what.per, what.span), now = values.length ? values[values.length - 1] : null;
			const limit = top(values), all = runs(samples, values, limit);

			value.textContent = (now == null) ? '–' : what.unit.format(number(now));
			most.textContent = all.length ? _('up to %s').format(number(limit)) : '';
			note.textContent = text;
			fill.setAttribute('d', area(all));
			stroke.setAttribute('d', line(all));
			picture.setAttribute('aria-label', (now == null)
				? _('%s: no numbers yet').format(what.title)
				: _('%s: %s now, and %s at most in the last five minutes').format(what.title, number(now), number(Math.max.apply(null, values))));
		}
	};
}

return baseclass.extend({
	area: area,
	create: create,
	line: line,
	number: number,
	push: push,
	rates: rates,
	runs: runs,
	top: top
});
