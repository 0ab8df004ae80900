// In place of ucode's module socket where no more files can be opened.
'use strict';

return {
	create: () => null,
	error: () => 'Too many open files'
};
