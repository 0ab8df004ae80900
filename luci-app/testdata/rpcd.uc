// In place of rpcd's ucode plugin: loads PLUGIN, and calls each METHOD of its object
// with the ARGS behind it as JSON. Like there, arguments are of the type of the
// method's hints, and ubus_rpc_session may be among them. Prints the ubus status and
// the reply, a line for each call. Instead of a method, "sleep" waits for so many ms.
// B4D runs in place of the b4d that is installed.
'use strict';

global.UBUS_STATUS_INVALID_ARGUMENT = 2;

const execute = system;

global.system = function(args, patience) {
	assert(type(args) == 'array' && args[0] == '/usr/sbin/b4d' && patience > 0, 'not by b4d alone');

	return execute([ getenv('B4D'), ...slice(args, 1) ], patience);
};

const object = loadfile(ARGV[0], { raw_mode: true })()['luci.b4'];

if (ARGV[1] == 'list') {
	print(sprintf('%J', map(sort(keys(object)), name => [ name, object[name].args ?? {} ])));
	exit(0);
}

function fits(method, args) {
	for (let name, value in args)
		if (name != 'ubus_rpc_session' && (!exists(method.args ?? {}, name) || type(value) != type(method.args[name])))
			return false;

	return true;
}

for (let i = 1; i < length(ARGV); i += 2) {
	if (ARGV[i] == 'sleep') {
		sleep(+ARGV[i + 1]);
		continue;
	}

	const method = object[ARGV[i]], args = json(ARGV[i + 1]);
	let status = 0, reply;

	if (fits(method, args))
		reply = method.call({ args, error: code => { status = code; } });
	else
		status = UBUS_STATUS_INVALID_ARGUMENT;

	printf('%d %J\n', status, reply);
}
