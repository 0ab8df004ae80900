// In place of rpcd's ucode plugin: loads PLUGIN, and calls METHOD of its object
// with ARGS as JSON. Like there, arguments are of the type of the method's
// hints, and ubus_rpc_session may be among them. Prints the ubus status and the
// reply.
'use strict';

global.UBUS_STATUS_INVALID_ARGUMENT = 2;

const object = loadfile(ARGV[0], { raw_mode: true })()['luci.b4'];

if (ARGV[1] == 'list') {
	print(sprintf('%J', map(sort(keys(object)), name => [ name, object[name].args ?? {} ])));
	exit(0);
}

const method = object[ARGV[1]], args = json(ARGV[2]);

for (let name, value in args) {
	if (name != 'ubus_rpc_session' && (!exists(method.args ?? {}, name) || type(value) != type(method.args[name]))) {
		print('2 null');
		exit(0);
	}
}

let status = 0;
const reply = method.call({ args, error: code => { status = code; } });

printf('%d %J', status, reply);
