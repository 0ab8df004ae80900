// The ubus object luci.b4: what b4d's control socket serves, for LuCI. rpcd runs
// this and serves nobody else meanwhile, so nothing here waits for long, and little
// where b4d has just been waited for in vain; b4d checks every argument again.
// Whatever happens, the answer is what b4d says, or { error, running }.
'use strict';

import { cursor } from 'uci';
import { mkstemp, error as file_error } from 'fs';

let socket;

try {
	socket = require('socket');
}
catch (e) {
	// OpenWrt 23.05 has none: b4d itself is the client then.
}

const B4D = '/usr/sbin/b4d';
const DEFAULT_SOCKET = '/var/run/b4/b4d.sock';

// How long b4d may take, in ms. It answers at once unless it has to ask the
// kernel and read lists of names, or is doing so for somebody else.
const PATIENCE = 3000;
const LONG_PATIENCE = 8000;

// Of the time since b4d has left a call without an answer, rpcd waits a fifth at
// most, however many pages ask: by SHARE, in ms. What is too short to ask in is not
// asked: a process of b4d's takes a while to start.
const SHARE = 4;
const LEAST = 100;

const MAX_ANSWER = 524288; // bytes; ubus carries twice as much
const EAGAIN = 11;         // of connect: its backlog is full
const NOT_RUNNING = 3;     // b4d's exit code
const NOT_EXECUTED = 255;  // system()'s, where there is no b4d
const MAX_HOST = 253;      // bytes (RFC 1035 section 2.3.4)
const MAX_ADDRESS = 45;    // bytes (INET6_ADDRSTRLEN, netinet/in.h)
const MAX_MAC = 17;        // bytes
const MAX_STRATEGY = 4096; // bytes; b4d says what is too long for it

function now() {
	const t = clock(true);

	return t[0] * 1000 + t[1] / 1000000;
}

// receive reads b4d's answer, one line, or returns null.
function receive(conn, patience) {
	const end = now() + patience;
	let line = '';

	while (length(line) <= MAX_ANSWER) {
		const left = end - now();

		if (left <= 0 || !socket.poll(left, [ conn, socket.POLLIN ])?.[0]?.[1])
			return null;

		const part = conn.recv(65536);

		if (!length(part))
			return null;

		line += part;

		if (ord(line, -1) == 10)
			return line;
	}

	return null;
}

const STOPPED = { error: 'b4d is not running', running: false };
const SILENT = { error: 'b4d does not answer', running: true };

// failed is the answer where this router cannot even ask.
function failed(what, why) {
	return { error: sprintf('cannot ask b4d: %s: %s', what, why), running: true };
}

// parse is JSON as a value, null if it is none.
function parse(text) {
	try {
		return json(text);
	}
	catch (e) {
		return null;
	}
}

// dial asks at the control socket and returns b4d's answer.
function dial(path, method, params, patience) {
	const conn = socket.create(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC);

	if (!conn)
		return failed('socket', socket.error());

	let line;

	if (conn.connect({ family: socket.AF_UNIX, path })) {
		conn.send(sprintf('%J\n', { method, params }));
		line = receive(conn, patience);
	}
	else if (socket.error(true) != EAGAIN) {
		return STOPPED;
	}

	conn.close();

	return parse(line) ?? SILENT;
}

// execute has b4d itself ask, without a shell, and returns the answer. It comes in a
// file that has no name, so nobody can have planted it and nothing is left of it.
function execute(path, method, params, patience) {
	const file = mkstemp();

	if (!file)
		return failed('temporary file', file_error());

	const name = sprintf('/proc/self/fd/%d', file.fileno());
	const code = system([ B4D, 'call', '-socket', path, '-out', name, method, sprintf('%J', params) ], patience);
	const answer = parse(file.read(MAX_ANSWER));

	file.close();

	if (code == NOT_RUNNING)
		return STOPPED;

	if (code == NOT_EXECUTED)
		return failed(B4D, 'cannot be executed');

	return (code == 0 && answer != null) ? { result: answer } : answer ?? SILENT;
}

let silent; // when b4d was last waited for in vain, in ms; null: it has answered since

// attempt asks b4d, or does not where it has been silent just now.
function attempt(method, params, patience) {
	if (silent != null)
		patience = min(patience, int((now() - silent) / SHARE));

	if (patience < LEAST)
		return SILENT;

	const configured = cursor()?.get?.('b4', 'main', 'socket');
	const path = (type(configured) == 'string') ? configured : DEFAULT_SOCKET;
	const began = now(), answer = (socket ? dial : execute)(path, method, params, patience), ended = now();

	// What has no answer at once, as where b4d hangs up, keeps nobody waiting.
	silent = (answer === SILENT && ended - began > patience / 2) ? ended : null;

	return answer;
}

// ask asks b4d and returns its result, or an object with error.
function ask(method, params, patience) {
	let answer;

	try {
		answer = attempt(method, params, patience ?? PATIENCE);
	}
	catch (e) {
		answer = failed(method, e.message); // as system() does where there is no room for a process
	}

	if (type(answer?.result) == 'object')
		return answer.result;

	return {
		error: answer?.error ?? 'b4d gives an answer that means nothing',
		running: answer?.running ?? true
	};
}

// refuse ends a call as rpcd does where an argument has the wrong type.
function refuse(request) {
	request.error(UBUS_STATUS_INVALID_ARGUMENT);
}

function is_text(text, most) {
	return type(text) == 'string' && length(text) > 0 && length(text) <= most;
}

function is_number(n) {
	return type(n) == 'int' && n >= 0;
}

function is_port(n) {
	return is_number(n) && n > 0 && n < 65536;
}

return {
	'luci.b4': {
		status: {
			call: () => ask('status')
		},

		counters: {
			call: () => ask('counters')
		},

		recent: {
			call: () => ask('recent')
		},

		strategies: {
			call: () => ask('strategies')
		},

		check: {
			call: () => ask('check', null, LONG_PATIENCE)
		},

		reload: {
			call: () => ask('reload', null, LONG_PATIENCE)
		},

		// What happens to a host, for a device by its MAC and its address on the
		// LAN, or for one that no rule names.
		test_host: {
			args: { host: 'string', mac: 'string', address: 'string', port: 0 },
			call: function(request) {
				const args = request.args, params = {};

				for (let name in [ 'host', 'mac', 'address', 'port' ])
					if (args[name] != null)
						params[name] = args[name];

				return (is_text(params.host, MAX_HOST) && is_text(params.mac ?? '-', MAX_MAC) &&
				        is_text(params.address ?? '-', MAX_ADDRESS) && is_port(params.port ?? 443))
					? ask('test_host', params) : refuse(request);
			}
		},

		preview: {
			args: { proto: 'string', text: 'string' },
			call: function(request) {
				const proto = request.args.proto, text = request.args.text ?? '';

				return (proto in [ 'tls', 'http', 'quic' ] && type(text) == 'string' && length(text) <= MAX_STRATEGY)
					? ask('preview', { proto, text }) : refuse(request);
			}
		},

		pause: {
			args: { minutes: 0 },
			call: function(request) {
				const minutes = request.args.minutes;

				return is_number(minutes) ? ask('pause', { minutes }) : refuse(request);
			}
		},

		// With a host it begins to collect what happens to it, without one
		// it returns what has been collected: neither waits for events.
		trace: {
			args: { host: 'string', seconds: 0 },
			call: function(request) {
				const host = request.args.host, seconds = request.args.seconds;

				if (host == null && seconds == null)
					return ask('collect');

				return (is_text(host, MAX_HOST) && is_number(seconds)) ? ask('collect', { host, seconds }) : refuse(request);
			}
		}
	}
};
