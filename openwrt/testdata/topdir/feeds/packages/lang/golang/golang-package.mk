# What OpenWrt's golang-package.mk gives to a package that is built with Go.
GO_ARCH_DEPENDS := @(mips||x86_64)
GO_PKG_BUILD_BIN_DIR = $(PKG_BUILD_DIR)/.go_work/build/bin

define GoBinPackage
endef
