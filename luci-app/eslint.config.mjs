/*
 * What LuCI gives a script, and what a browser does, so that all else is a mistake.
 * A module that a script requires is a name in that script alone (LuCI's luci.js,
 * compileClass).
 */
import fs from 'node:fs';
import path from 'node:path';
import js from '@eslint/js';

const RESOURCES = 'htdocs/luci-static/resources';

/* Built into all of LuCI's pages, and the part of a browser that is used. */
const PAGE = [
	'E', 'L', 'N_', '_',
	'CustomEvent', 'Event', 'KeyboardEvent', 'Node', 'TextDecoder', 'TextEncoder', 'URL', 'cancelAnimationFrame', 'clearTimeout',
	'document', 'localStorage', 'navigator', 'requestAnimationFrame', 'sessionStorage', 'setTimeout', 'window'
];

const NODE = [ 'Buffer', 'URL', 'clearTimeout', 'console', 'global', 'process', 'require', 'setImmediate', 'setTimeout' ];

function readonly(names) {
	return Object.fromEntries(names.map(name => [ name, 'readonly' ]));
}

/* required are the names that a script has its modules by. */
function required(file) {
	const lines = fs.readFileSync(file, 'utf8').matchAll(/^'require ([\w.-]+)(?: as (\w+))?';$/gm);

	return Array.from(lines, ([ , module, name ]) => name || module.replace(/[^a-zA-Z0-9]/g, '_'));
}

const scripts = fs.readdirSync(RESOURCES, { recursive: true })
	.filter(name => name.endsWith('.js'))
	.map(name => path.posix.join(RESOURCES, name.split(path.sep).join('/')));

const rules = {
	'no-unused-vars': [ 'error', { args: 'after-used', caughtErrors: 'none' } ],
	'no-var': 'error',
	'prefer-const': [ 'error', { destructuring: 'all' } ],
	'no-use-before-define': [ 'error', { functions: false } ],
	'no-implicit-globals': 'error',
	'no-implied-eval': 'error',
	'no-new-func': 'error',
	'no-eval': 'error',
	'no-loop-func': 'error',
	'no-restricted-syntax': [ 'error', {
		selector: 'TemplateLiteral', message: 'LuCI\'s minifier knows no templates.'
	} ]
};

export default [
	js.configs.recommended,
	{ linterOptions: { reportUnusedDisableDirectives: 'error' } },
	...scripts.map(file => ({
		files: [ file ],
		rules: rules,
		languageOptions: {
			ecmaVersion: 2017,
			sourceType: 'script',
			parserOptions: { ecmaFeatures: { globalReturn: true } },
			globals: readonly(PAGE.concat(required(file)))
		}
	})),
	{
		files: [ 'testdata/*.js' ],
		rules: { ...rules, 'no-restricted-syntax': 'off', 'no-new-func': 'off' },
		languageOptions: { ecmaVersion: 2022, sourceType: 'commonjs', globals: readonly(NODE) }
	},
	{
		files: [ '*.mjs' ],
		rules: { ...rules, 'no-restricted-syntax': 'off' },
		languageOptions: { ecmaVersion: 2022, sourceType: 'module', globals: readonly(NODE) }
	}
];
