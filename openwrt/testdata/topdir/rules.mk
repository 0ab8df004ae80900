# What a package's Makefile takes from OpenWrt's rules.mk. The test sets
# BUILD_DIR.
INCLUDE_DIR := $(TOPDIR)/include

INSTALL_DIR  := install -d -m0755
INSTALL_BIN  := install -m0755
INSTALL_DATA := install -m0644
INSTALL_CONF := install -m0600
