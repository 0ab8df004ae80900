// In place of OpenWrt's module uci, as an exception that nobody has thought of.
'use strict';

export function cursor() {
	die('out of memory');
};
