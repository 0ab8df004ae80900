// The ubus object luci.b4: what b4d's control socket serves, for LuCI. rpcd runs
// this and serves nobody else meanwhile, so nothing here waits for long; b4d
// checks every argument again.
'use strict';

import { cursor } from 'uci';
import * as socket from 'socket';

const DEFAULT_SOCKET = '/var/run/b4/b4d.sock';

// How long b4d may take, in ms. It answers at once unless it has to ask the
// kernel and read lists of names, or is doing so for somebody else.
const PATIENCE = 3000;
const LONG_PATIENCE = 12000;

const MAX_ANSWER = 524288; // bytes; ubus carries twice as much
const EAGAIN = 11;         // of connect: its backlog is full
const MAX_HOST = 253;      // bytes (RFC 1035 section 2.3.4)

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

// ask asks b4d and returns its result, or an object with error.
function ask(method, params, patience) {
	const configured = cursor().get('b4', 'main', 'socket');
	const path = (type(configured) == 'string') ? configured : DEFAULT_SOCKET;
	const conn = socket.create(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC);

	if (!conn?.connect({ family: socket.AF_UNIX, path })) {
		const busy = (socket.error(true) == EAGAIN);

		return { error: busy ? 'b4d does not answer' : 'b4d is not running', running: busy };
	}

	conn.send(sprintf('%J\n', { method, params }));

	const line = receive(conn, patience ?? PATIENCE);

	conn.close();

	let answer;

	try {
		answer = json(line);
	}
	catch (e) {
		return { error: 'b4d does not answer', running: true };
	}

	if (type(answer?.result) != 'object')
		return { error: answer?.error ?? 'b4d gives an answer that means nothing', running: true };

	return answer.result;
}

// refuse ends a call as rpcd does where an argument has the wrong type.
function refuse(request) {
	request.error(UBUS_STATUS_INVALID_ARGUMENT);
}

function is_host(host) {
	return type(host) == 'string' && length(host) > 0 && length(host) <= MAX_HOST;
}

function is_number(n) {
	return type(n) == 'int' && n >= 0;
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

		test_host: {
			args: { host: 'string' },
			call: function(request) {
				const host = request.args.host;

				return is_host(host) ? ask('test_host', { host }) : refuse(request);
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

				return (is_host(host) && is_number(seconds)) ? ask('collect', { host, seconds }) : refuse(request);
			}
		}
	}
};
