// In place of ucode's module socket, which OpenWrt 23.05 has not.
'use strict';

die('no sockets');
