package main

import (
	"bytes"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"strings"
)

// A target is a build of b4d and the architectures of OpenWrt that it runs on.
type target struct {
	name     string // of the build's directory
	machine  elf.Machine
	class    elf.Class
	order    elf.Data
	settings map[string]string // of Go's build, for OpenWrt's CPUs
	ipk, apk []string          // OpenWrt's names in releases with opkg, and with apk
}

// targets are the routers that packages are made for. OpenWrt builds its own Go
// programs with the same settings (lang/golang/golang-values.mk): floats in
// software on MIPS, ARM 7 with any VFPv3, of which Go uses the 16 registers
// that -d16 has. It renamed riscv64's packages after 24.10.
var targets = []target{
	same("mips", elf.EM_MIPS, elf.ELFCLASS32, elf.ELFDATA2MSB, mipsSettings("mips"), "mips_24kc"),
	same("mipsle", elf.EM_MIPS, elf.ELFCLASS32, elf.ELFDATA2LSB, mipsSettings("mipsle"), "mipsel_24kc", "mipsel_74kc"),
	same("armv7", elf.EM_ARM, elf.ELFCLASS32, elf.ELFDATA2LSB, map[string]string{"GOARCH": "arm", "GOARM": "7"},
		"arm_cortex-a7_neon-vfpv4", "arm_cortex-a9_vfpv3-d16"),
	same("arm64", elf.EM_AARCH64, elf.ELFCLASS64, elf.ELFDATA2LSB, map[string]string{"GOARCH": "arm64"},
		"aarch64_cortex-a53", "aarch64_generic"),
	same("amd64", elf.EM_X86_64, elf.ELFCLASS64, elf.ELFDATA2LSB, map[string]string{"GOARCH": "amd64", "GOAMD64": "v1"}, "x86_64"),
	{
		name: "riscv64", machine: elf.EM_RISCV, class: elf.ELFCLASS64, order: elf.ELFDATA2LSB,
		settings: map[string]string{"GOARCH": "riscv64"},
		ipk:      []string{"riscv64_riscv64"}, apk: []string{"riscv64_generic"},
	},
}

// same makes a target whose architectures have one name in all releases.
func same(name string, m elf.Machine, c elf.Class, d elf.Data, settings map[string]string, archs ...string) target {
	return target{name, m, c, d, settings, archs, archs}
}

func mipsSettings(arch string) map[string]string {
	return map[string]string{"GOARCH": arch, "GOMIPS": "softfloat"}
}

// check says what is wrong with a build of b4d for t, all of it at once.
func (t *target) check(b4d []byte) error {
	f, err := elf.NewFile(bytes.NewReader(b4d))
	if err != nil {
		return fmt.Errorf("b4d for %s: %w", t.name, err)
	}
	var errs []error
	if f.Machine != t.machine || f.Class != t.class || f.Data != t.order || f.Type != elf.ET_EXEC {
		errs = append(errs, fmt.Errorf("it is %v, %v, %v, %v", f.Machine, f.Class, f.Data, f.Type))
	}
	errs = append(errs, bare(f), t.settled(b4d))
	if f.Machine == elf.EM_MIPS {
		errs = append(errs, softFloat(f))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("b4d for %s: %w", t.name, err)
	}
	return nil
}

// bare refuses a program that needs an interpreter or libraries, or has tables
// for debuggers.
func bare(f *elf.File) error {
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return errors.New("it is linked dynamically")
		}
	}
	for _, s := range f.Sections {
		if s.Type == elf.SHT_SYMTAB || strings.HasPrefix(s.Name, ".debug") || strings.HasPrefix(s.Name, ".zdebug") {
			return fmt.Errorf("it is not stripped of %s", s.Name)
		}
	}
	return nil
}

// settled compares what the program says of its build with what t wants.
func (t *target) settled(b4d []byte) error {
	info, err := buildinfo.Read(bytes.NewReader(b4d))
	if err != nil {
		return err
	}
	have := map[string]string{}
	for _, s := range info.Settings {
		have[s.Key] = s.Value
	}
	want := map[string]string{"GOOS": "linux", "CGO_ENABLED": "0", "-trimpath": "true"}
	for k, v := range t.settings {
		want[k] = v
	}
	var errs []error
	for k, v := range want {
		if have[k] != v {
			errs = append(errs, fmt.Errorf("it is built with %s=%s, not %s", k, have[k], v))
		}
	}
	return errors.Join(errs...)
}

// mipsSoftFloat is the float ABI of programs without float instructions, in
// byte 7 of the section .MIPS.abiflags.
const mipsSoftFloat = 3

// softFloat refuses a MIPS program with float instructions: most routers would
// run them in the kernel, one trap each.
func softFloat(f *elf.File) error {
	s := f.Section(".MIPS.abiflags")
	if s == nil {
		return errors.New("it has no .MIPS.abiflags")
	}
	flags, err := s.Data()
	if err != nil {
		return fmt.Errorf("read .MIPS.abiflags: %w", err)
	}
	if len(flags) < 8 || flags[7] != mipsSoftFloat {
		return errors.New("its float ABI is not soft")
	}
	return nil
}
