// In place of ucode's module fs where /tmp is full.
'use strict';

export function mkstemp() {
	return null;
};

export function error() {
	return 'No space left on device';
};
