// Package luci serves b4's LuCI pages as a router does, and looks at them with a
// browser.
//
// LuCI's own runtime comes from a checkout of github.com/openwrt/luci, master or a
// release from 23.05 on. All else is here: the shell of a page, the menu and the ACL
// made of the app's files, uhttpd's JSON-RPC, rpcd's object uci on real files with
// changes that wait to be applied, and the object luci.b4, which asks a real b4d in
// the router of a lab. Save & Apply does what procd does: b4d is started, told to
// reload, or ended.
//
//	go -C lab run ./luci/serve -luci-src DIR -addr 127.0.0.1:8080
//
// serves that, with a censor on the line and a client behind the router that opens
// some connections a second, for a look by hand. With -shots DIR it takes pictures
// of all pages and ends, and with -theme NAME they look as in that theme. In the address of a page ?theme=dark, ?lang=fa and
// ?login=readonly choose what it is shown with from then on.
//
// The tests in a browser run where LUCI_SRC names a checkout and Chromium is on PATH.
// B4_B4D names a b4d that need not be built then, and B4_SHOTS a directory for
// pictures of where a test failed.
package luci
