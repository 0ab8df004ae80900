# Of OpenWrt's package.mk what the test asks for: `make dump` prints what is known
# of the package, one "name=value" a line, and `make install` fills DESTDIR.
PKG_BUILD_DIR ?= $(BUILD_DIR)/$(PKG_NAME)-$(PKG_VERSION)

.PHONY: dump install scriptlets

define say
	@echo '$(1)=$(strip $($(1)))'

endef

# Package/NAME sets variables when it is expanded as make's own text.
define BuildPackage
$(eval $(Package/$(1)))

dump:
	$$(foreach v,$$(sort $$(filter PKG_% GO_PKG% SECTION CATEGORY TITLE DEPENDS,$$(.VARIABLES))),$$(call say,$$(v)))

install:
	$$(call Package/$(1)/install,$$(DESTDIR))

export conffiles = $$(Package/$(1)/conffiles)
export postinst = $$(Package/$(1)/postinst)
scriptlets:
	@printf '%s\n' "$$$$conffiles" >$$(DESTDIR)/conffiles
	@printf '%s\n' "$$$$postinst" >$$(DESTDIR)/postinst
endef
