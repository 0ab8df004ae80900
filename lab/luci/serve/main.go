// Command serve serves b4's LuCI pages with a live b4d behind them, or takes
// pictures of them: see package luci. It makes network namespaces, so it needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"b4/lab"
	"b4/lab/luci"
)

func main() {
	o := luci.Options{Devices: []luci.Device{{MAC: "02:b4:00:00:00:07", Name: "tv", Address: "192.168.1.7"}, {MAC: "02:b4:00:00:00:08", Address: "192.168.1.8"}}}
	flag.StringVar(&o.Source, "luci-src", os.Getenv("LUCI_SRC"), "a checkout of LuCI in this `directory`")
	flag.StringVar(&o.Theme, "theme", "", "LuCI's `theme`, of those in the checkout; none: bootstrap")
	flag.StringVar(&o.App, "app", "../luci-app", "b4's luci-app in this `directory`")
	flag.StringVar(&o.Addr, "addr", "127.0.0.1:8080", "the `address` to listen on")
	flag.StringVar(&o.B4D, "b4d", "", "the b4d `program` to run; none: it is built")
	config := flag.String("config", "", "UCI `file` for /etc/config/b4; none: the package's, switched on")
	fresh := flag.Bool("fresh", false, "b4 as the package brings it: switched off")
	shots := flag.String("shots", "", "take pictures of all pages into this `directory`, and end")
	each := flag.Duration("each", 300*time.Millisecond, "the time between the client's connections")
	flag.Parse()
	if err := run(o, *config, *fresh, *shots, *each); err != nil {
		fmt.Fprintln(os.Stderr, "serve:", err)
		os.Exit(1)
	}
}

func run(o luci.Options, config string, fresh bool, shots string, each time.Duration) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	if o.App, err = filepath.Abs(o.App); err != nil {
		return err
	}
	if o.Source == "" {
		return errors.New("-luci-src names no checkout of LuCI")
	}
	switch {
	case config != "":
		var text []byte
		text, err = os.ReadFile(config)
		o.Config = string(text)
	case !fresh:
		o.Config = luci.Example
	}
	if err != nil {
		return err
	}
	if shots != "" {
		o.Addr = ""
	}
	if o.Lab, err = lab.New(lab.Options{}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Lab.Close()) }()
	if err := luci.SetCensor(o.Lab); err != nil {
		return err
	}
	s, err := luci.New(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	browsing := make(chan struct{})
	go func() { defer close(browsing); luci.Browse(ctx, o.Lab, each) }()
	defer func() { stop(); <-browsing }()
	if shots != "" {
		return luci.Shoot(ctx, s, shots)
	}
	fmt.Println(s.URL)
	<-ctx.Done()
	return nil
}
