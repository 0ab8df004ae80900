// In place of OpenWrt's module uci: the one option that the plugin reads.
'use strict';

export function cursor() {
	return {
		get: (config, section, option) => (`${config}.${section}.${option}` == 'b4.main.socket') ? getenv('B4_SOCKET') : null
	};
};
