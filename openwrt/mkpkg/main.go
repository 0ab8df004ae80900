// Command mkpkg makes OpenWrt packages of b4 and of its LuCI application, for
// opkg and for apk, without OpenWrt's SDK: the same bytes from the same source
// and the same Go. It reads again what it wrote and fails if that is not what
// was meant.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// maxIPK is what a router with 8 MiB of flash can spare to download b4, in
// bytes; maxIPKTarget is the build that it holds for.
const (
	maxIPK       = 1_400_000
	maxIPKTarget = "mipsle"
)

// sumsName is the list of all files with their SHA-256, for sha256sum -c.
const sumsName = "sha256sums"

func main() {
	var o options
	flag.StringVar(&o.root, "root", ".", "the project's `directory`")
	flag.StringVar(&o.bin, "bin", "", "`directory` of builds: <target>/b4d")
	flag.StringVar(&o.out, "out", "", "`directory` to write, removed first")
	flag.StringVar(&o.version, "version", "", "`version` as git describes it; that of the source if empty")
	flag.Int64Var(&o.epoch, "epoch", 0, "date of all files, `seconds` since 1970")
	flag.StringVar(&o.only, "only", "", "one `target`; all if empty")
	show := flag.Bool("print-version", false, "print the packages' version and exit")
	flag.Parse()

	err := func() error {
		version, err := packageVersion(o.root, o.version)
		if err != nil {
			return err
		}
		if *show {
			_, err := fmt.Println(version)
			return err
		}
		o.version = version
		return run(o, os.Stdout)
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mkpkg:", err)
		os.Exit(1)
	}
}

type options struct {
	root, bin, out, version string
	epoch                   int64
	only                    string // the name of a target; all if empty
}

// targets are those that packages are wanted for.
func (o *options) targets() ([]target, error) {
	if o.only == "" {
		return targets, nil
	}
	i := slices.IndexFunc(targets, func(t target) bool { return t.name == o.only })
	if i < 0 {
		return nil, fmt.Errorf("-only %s: there is no such target", o.only)
	}
	return targets[i : i+1], nil
}

// run packs, writes, reads again and prints sizes.
func run(o options, stdout io.Writer) error {
	if o.bin == "" || o.out == "" {
		return errors.New("-bin and -out are missing")
	}
	if o.epoch <= 0 {
		return errors.New("-epoch is missing: the last commit's date, or SOURCE_DATE_EPOCH where there is no git")
	}
	chosen, err := o.targets()
	if err != nil {
		return err
	}
	b4, b4Err := daemonPackage(o.root, o.version, o.epoch)
	luci, luciErr := luciPackage(o.root, o.version, o.epoch)
	i18n, i18nErr := i18nPackages(o.root, o.version, o.epoch)
	if err := errors.Join(b4Err, luciErr, i18nErr); err != nil {
		return err
	}
	if err := os.RemoveAll(o.out); err != nil {
		return err
	}
	feeds, err := makeAll(o, chosen, b4, append([]pkg{luci}, i18n...))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.out, sumsName), []byte(sums(feeds)), 0o644); err != nil {
		return err
	}
	if err := checkSums(o.out); err != nil {
		return err
	}
	return report(stdout, feeds)
}

// makeAll makes and checks the feeds of the chosen targets, as many at a time
// as there are processors. What is the same for all goes into each.
func makeAll(o options, chosen []target, b4 pkg, same []pkg) ([]feed, error) {
	var (
		made = make([][]feed, len(chosen))
		errs = make([]error, len(chosen))
		free = make(chan struct{}, runtime.GOMAXPROCS(0))
		wait sync.WaitGroup
	)
	for i := range chosen {
		wait.Add(1)
		go func() {
			defer wait.Done()
			free <- struct{}{}
			made[i], errs[i] = makeTarget(o, &chosen[i], b4, same)
			<-free
		}()
	}
	wait.Wait()
	return slices.Concat(made...), errors.Join(errs...)
}

// makeTarget makes and checks the feeds of one build.
func makeTarget(o options, t *target, b4 pkg, same []pkg) ([]feed, error) {
	b4d, err := os.ReadFile(filepath.Join(o.bin, t.name, "b4d"))
	if err != nil {
		return nil, fmt.Errorf("find b4d for %s: %w", t.name, err)
	}
	if err := t.check(b4d); err != nil {
		return nil, err
	}
	var feeds []feed
	keep := func(f feed, pkgs []pkg) error {
		if err := f.write(o.out); err != nil {
			return fmt.Errorf("write %s: %w", f.dir, err)
		}
		feeds = append(feeds, f)
		return checkFeed(o.out, f.dir, pkgs)
	}
	for _, arch := range t.ipk {
		pkgs := slices.Concat([]pkg{b4.with(arch, b4d)}, same)
		f, err := ipkFeed(arch, pkgs...)
		if err != nil {
			return nil, err
		}
		if size := len(f.files[0].data); t.name == maxIPKTarget && size > maxIPK {
			return nil, fmt.Errorf("%s has %d bytes, more than %d", f.files[0].name, size, maxIPK)
		}
		if err := keep(f, pkgs); err != nil {
			return nil, err
		}
	}
	for _, arch := range t.apk {
		pkgs := slices.Concat([]pkg{b4.with(arch, b4d)}, same)
		if err := keep(apkFeed(arch, pkgs...), pkgs); err != nil {
			return nil, err
		}
	}
	return feeds, nil
}

// report prints the packages with their sizes.
func report(w io.Writer, feeds []feed) error {
	for _, f := range feeds {
		for _, o := range f.files {
			if !strings.HasSuffix(o.name, ".ipk") && !strings.HasSuffix(o.name, ".apk") {
				continue
			}
			if _, err := fmt.Fprintf(w, "%9d %s/%s\n", len(o.data), f.dir, o.name); err != nil {
				return err
			}
		}
	}
	return nil
}
