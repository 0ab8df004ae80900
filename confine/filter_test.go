package confine

import (
	"encoding/binary"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// run is the kernel's part: what prog returns for a struct seccomp_data, and after
// how many instructions.
func run(t *testing.T, prog []unix.SockFilter, data []byte, order binary.ByteOrder) (verdict uint32, steps int) {
	t.Helper()
	acc := uint32(0)
	for pc := 0; pc < len(prog); pc++ {
		steps++
		in := prog[pc]
		yes := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			acc = order.Uint32(data[in.K:])
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K, steps
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			yes = acc == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			yes = acc >= in.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			yes = acc > in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			yes = acc&in.K != 0
		default:
			t.Fatalf("instruction %d: code %#x", pc, in.Code)
		}
		if yes {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatal("the program runs over its end")
	return 0, 0
}

// Every number has its answer, in both byte orders, and by few steps.
func TestProgram(t *testing.T) {
	want := map[uint32]uint32{}
	for _, nr := range denied() {
		if _, twice := want[nr]; twice {
			t.Errorf("%d stands twice", nr)
		}
		want[nr] = eperm
	}
	want[unix.SYS_CLONE3] = enosys
	for order, off := range map[binary.ByteOrder]uint32{binary.LittleEndian: offArg0, binary.BigEndian: offArg0 + 4} {
		prog := program(denied(), off)
		ask := func(arch, nr uint32, arg0 uint64) uint32 {
			data := make([]byte, 64)
			order.PutUint32(data, nr)
			order.PutUint32(data[4:], arch)
			order.PutUint64(data[16:], arg0)
			verdict, steps := run(t, prog, data, order)
			if steps > 20 {
				t.Errorf("call %d takes %d steps", nr, steps)
			}
			return verdict
		}
		for nr := range uint32(newest + 1) {
			answer := uint32(allow)
			if w, ok := want[nr]; ok {
				answer = w
			}
			if got := ask(arch, nr, ^uint64(unix.CLONE_THREAD)); got != answer {
				t.Errorf("%v: call %d: %#x, want %#x", order, nr, got, answer)
			}
			if got := ask(arch^1, nr, 0); got != eperm {
				t.Errorf("%v: call %d of another architecture: %#x", order, nr, got)
			}
		}
		if got := ask(arch, unix.SYS_CLONE, unix.CLONE_VM|unix.CLONE_THREAD); got != allow {
			t.Errorf("%v: a thread: %#x", order, got)
		}
		const x32 = 0x40000000
		for _, nr := range []uint32{newest + 1, x32, x32 + unix.SYS_EXECVE, x32 + 520, 0xefff0} {
			if got := ask(arch, nr, 0); nr < private && got != enosys {
				t.Errorf("%v: call %#x: %#x", order, nr, got)
			}
		}
		if got := ask(arch, 0xf0005, 0); (got == allow) != (private == 0xf0000) {
			t.Errorf("%v: set_tls of ARM: %#x", order, got)
		}
	}
	if order := [2]byte(binary.NativeEndian.AppendUint16(nil, 1)); (order[0] == 0) != (flags == offArg0+4) {
		t.Errorf("clone's flags are looked for at %d", flags)
	}
}

// least are those without which the filter would be none: ways to another program,
// process or root directory, into the kernel, and around the filter.
const least = `EXECVE EXECVEAT FORK VFORK CLONE CLONE3 PTRACE PROCESS_VM_READV PROCESS_VM_WRITEV PIDFD_GETFD
	MOUNT UMOUNT UMOUNT2 FSOPEN FSCONFIG FSMOUNT FSPICK MOVE_MOUNT OPEN_TREE OPEN_TREE_ATTR MOUNT_SETATTR PIVOT_ROOT CHROOT
	OPEN_BY_HANDLE_AT CREATE_MODULE INIT_MODULE FINIT_MODULE DELETE_MODULE KEXEC_LOAD KEXEC_FILE_LOAD REBOOT
	BPF PERF_EVENT_OPEN USERFAULTFD IO_URING_SETUP SETNS UNSHARE ADD_KEY KEYCTL
	SETTIMEOFDAY STIME CLOCK_SETTIME CLOCK_SETTIME64 IOPL IOPERM SYSCALL`

// A name that an architecture has a number for is in its table: each file of the
// tables is held against x/sys's list of numbers.
func TestTables(t *testing.T) {
	sys, err := build.Import("golang.org/x/sys/unix", ".", build.FindOnly)
	if err != nil {
		t.Skipf("the sources of x/sys/unix are not here: %v", err)
	}
	files := map[string][]string{ // all that OpenWrt has Go for
		"386": {"386"}, "amd64": {"amd64"}, "arm": {"arm"}, "arm64": {"64", "arm64"},
		"riscv64": {"64", "riscv64"}, "mips": {"mipsx", "mips"}, "mipsle": {"mipsx", "mipsle"},
		"loong64": {"64", "loong64"}, "mips64": {"mips64x", "mips64"}, "mips64le": {"mips64x", "mips64le"},
		"ppc64": {"ppc64x", "ppc64"}, "ppc64le": {"ppc64x", "ppc64le"},
	}
	tables, names := map[string][]string{}, []string{}
	for _, name := range strings.Fields(least) {
		names = append(names, "SYS_"+name)
	}
	for goarch, parts := range files {
		table := unixNames(t, "calls.go")
		for _, part := range parts {
			table = append(table, unixNames(t, "calls_"+part+".go")...)
		}
		tables[goarch] = table
		names = append(names, table...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) < 60 {
		t.Fatalf("%d names", len(names))
	}
	for goarch, table := range tables {
		numbers := parse(t, filepath.Join(sys.Dir, "zsysnum_linux_"+goarch+".go"))
		has := map[string]bool{}
		highest := 0
		for _, d := range numbers.Decls {
			for _, s := range d.(*ast.GenDecl).Specs {
				v := s.(*ast.ValueSpec)
				has[v.Names[0].Name] = true
				n, err := strconv.Atoi(v.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				if n > highest {
					highest = n
					if n%1000 > unix.SYS_OPEN_TREE_ATTR%1000 { // of MIPS they begin at a thousand
						t.Errorf("%s: %s is newer than what is the newest here", goarch, v.Names[0].Name)
					}
				}
			}
		}
		for _, name := range names {
			if name == "SYS_SYSCALL" && !strings.HasPrefix(goarch, "mips") {
				continue
			}
			if has[name] != slices.Contains(table, name) {
				t.Errorf("%s: %s is in x/sys: %t, in the table: %t", goarch, name, has[name], !has[name])
			}
		}
	}
}

func parse(t *testing.T, path string) *ast.File {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// unixNames are the system calls that a file of ours names.
func unixNames(t *testing.T, path string) (names []string) {
	t.Helper()
	ast.Inspect(parse(t, path), func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && strings.HasPrefix(s.Sel.Name, "SYS_") {
			names = append(names, s.Sel.Name)
		}
		return true
	})
	return names
}
