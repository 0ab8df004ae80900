package luci

import (
	"fmt"
	"html/template"
	"path/filepath"
	"strings"
)

// A theme is what stands around a view, as the theme's header and footer have it; of
// them what a menu, tabs and indicators need is kept.
type theme struct {
	name  string // of its package, behind luci-theme-
	media string // its folder below /luci-static
	menu  string // the script that draws the menu

	before, after template.HTML
}

// themes are those that LuCI's own repository has, and that of the fork x-wrt.
var themes = []theme{
	{"bootstrap", "bootstrap", "menu-bootstrap", `
<header><a class="brand" href="/">OpenWrt</a><ul class="nav" id="topmenu" style="display:none"></ul><div id="indicators" class="pull-right"></div></header>
<div id="maincontent" class="container"><div id="tabmenu" style="display:none"></div>`, `
</div><footer><span>Powered by LuCI</span><ul class="breadcrumb pull-right" id="modemenu" style="display:none"></ul></footer>`},

	{"material", "material", "menu-material", `
<header><div class="fill"><div class="container"><span class="showSide"></span><a id="logo" href="/"><img src="/luci-static/material/brand.png" alt="OpenWrt"></a>
<a class="brand" href="#">OpenWrt</a><span class="status" id="indicators"></span></div></div></header>
<div class="main"><div class="loading" style="display:none"></div><div class="main-left" id="mainmenu" style="display:none"></div><div class="main-right">
<div class="modemenu-buttons" style="display:none"><ul id="modemenu"></ul></div><div class="darkMask"></div>
<div id="maincontent"><div class="container"><div id="tabmenu" style="display:none"></div>`, `
</div><footer class="mobile-hide">Powered by LuCI</footer></div></div></div>`},

	{"openwrt", "openwrt.org", "menu-openwrt", `
<div id="menubar"><h2 class="navigation"><a id="navigation" name="navigation">Navigation</a></h2><div class="hostinfo">OpenWrt</div>
<div id="indicators"></div><ul id="modemenu" style="display:none"></ul><div class="clear"></div></div>
<div id="maincontainer"><div id="mainmenu" style="display:none"></div><div id="maincontent"><div id="tabmenu" style="display:none"></div>`, `
<div class="clear"></div></div></div><p class="luci">Powered by LuCI</p>`},

	{"openwrt-2020", "openwrt2020", "menu-openwrt2020", `
<div id="menubar"><h2 class="navigation"><a id="navigation" name="navigation">Navigation</a></h2>
<span class="hostname"><a class="brand" href="/">OpenWrt</a></span><span id="indicators"></span></div>
<div id="modemenu" style="display:none"></div>
<div id="maincontainer"><div id="mainmenu"></div><div id="maincontent"><div id="tabmenu" style="display:none"></div>`, `
</div></div><p class="luci">Powered by LuCI</p>`},

	{"x-wrt", "x-wrt", "menu-x-wrt", `
<div id="menubar"><h2 class="navigation"><a id="navigation" name="navigation">Navigation</a></h2>
<span class="hostname"><a class="brand" href="/">OpenWrt</a></span><span id="indicators"></span></div>
<div id="modemenu" style="display:none"></div>
<div id="maincontainer"><div id="mainmenu"></div><div id="maincontent"><div id="tabmenu" style="display:none"></div>`, `
</div></div><p class="luci">Powered by LuCI</p>`},
}

// findTheme finds a theme by its name; an empty one is LuCI's own choice.
func findTheme(name string) (*theme, error) {
	var names []string
	for i := range themes {
		if t := &themes[i]; t.name == name || name == "" {
			return t, nil
		}
		names = append(names, themes[i].name)
	}
	return nil, fmt.Errorf("there is no theme %q: want one of %s", name, strings.Join(names, ", "))
}

// files are the theme's files in a checkout of LuCI.
func (t *theme) files(source string) string {
	return filepath.Join(source, "themes/luci-theme-"+t.name, "htdocs")
}

// Themes are the names of those that a checkout of LuCI has.
func Themes(source string) (names []string) {
	for i := range themes {
		if dirs, err := filepath.Glob(themes[i].files(source)); err == nil && len(dirs) > 0 {
			names = append(names, themes[i].name)
		}
	}
	return names
}
