package daemon

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Finding is something that is not as it should be. Who shows it in other words
// or another language goes by Code and Args, and by Text where the code is news.
type Finding struct {
	Code string   `json:"code"`
	Text string   `json:"text"` // a sentence in English
	Args []string `json:"args"` // the values in it, in their order

	// Causes are the parts of the last value, where that is an error of which one at
	// least has a code, and Where is the option that a cause is about.
	Causes []Finding `json:"causes,omitempty"`
	Where  string    `json:"where,omitempty"`
}

// finding makes one.
func finding(code, format string, values ...any) Finding {
	f := Finding{Code: code, Text: line(fmt.Sprintf(format, values...)), Args: []string{}}
	for _, v := range values {
		f.Args = append(f.Args, line(fmt.Sprint(v)))
		if err, ok := v.(error); ok {
			f.Causes = causes(err)
		}
	}
	return f
}

// A findings gathers them.
type findings []Finding

// say adds one, if it is so. The values of format are the arguments.
func (f *findings) say(so bool, code, format string, values ...any) {
	if so {
		*f = append(*f, finding(code, format, values...))
	}
}

// line is the text of joined errors in one line.
func line(text string) string { return strings.ReplaceAll(text, "\n", "; ") }

// add adds those of list, whose texts lack their points, with before ahead of them.
func (f *findings) add(before string, list []Finding) {
	for _, note := range list {
		note.Text = before + note.Text + "."
		*f = append(*f, note)
	}
}

// notes are those of the devices that l stands for.
func (l *lookup) notes() (list []Finding) {
	for _, n := range l.wan.Notes {
		list = append(list, Finding{Code: n.Code, Text: n.Text, Args: n.Args})
	}
	return list
}

// enough is how many connections must have passed before their number says
// something.
const enough = 10

// health says what is not as it should be: first of b4d itself, then of what is
// around it, then of what becomes of packets. countErr is why s has no counts.
func (d *Daemon) health(s *Status, countErr error) []Finding {
	f := findings{}
	f.say(d.refused != nil, "refused", "The last reload was refused, and the configuration before it is in force: %v.", d.refused)
	f.say(!s.Enabled, "off", "b4 is off: set main.enabled to 1 and reload.")
	if s.Paused != nil {
		f.say(true, "paused", "b4 is paused: nothing is changed on the wire until %s.", d.paused.Format("15:04:05"))
		f[len(f)-1].Args[0] = d.paused.Format(time.RFC3339)
	}
	d.trouble(&f)
	f.say(s.Enabled && s.Engine == nil, "no_engine", "b4 treats nothing: its engine does not run.")
	f.say(d.wan.err != nil, "wan", "main.wan (%s): %v.", d.set.conf.Place("main.wan"), d.wan.err)
	f.say(d.out.err != nil, "out", "tun.out (%s): %v.", d.set.conf.Place("tun.out"), d.out.err)
	d.lans.eachWrong(d.set, func(option string, err error) {
		f.say(true, "devices", "%s (%s): %v.", option, d.set.conf.Place(option), err)
	})
	f.say(s.Enabled && len(d.watchable()) == 0 && !errors.Is(d.coreErr, errNoUplink), "no_wan", "No interface leads to the internet, so nothing is watched.")
	if s.Enabled {
		d.others(&f)
		f.add("", d.wan.notes())
		f.add("", d.out.notes())
	}
	for _, option := range d.stale() {
		f.say(true, "stale", "%s takes effect when b4 is started again.", option)
	}
	f.add("", d.opts.Notes)
	if s.Engine != nil {
		d.surroundings(&f)
		f.say(countErr != nil, "no_table", "The table inet b4 cannot be read: %v.", countErr)
		s.wire(&f)
	}
	return f
}

// trouble says why the core is not as it should be.
func (d *Daemon) trouble(f *findings) {
	const format = "b4 is not as it should be, and tries again: %v."
	var c *curable
	switch {
	case errors.Is(d.coreErr, errNoUplink):
		f.say(true, "waits", "Nothing is steered for now: %v.", d.coreErr)
	case errors.As(d.coreErr, &c) && c.pkg != "":
		f.say(true, "missing", format, d.coreErr)
		last := &(*f)[len(*f)-1]
		last.Args = append([]string{c.pkg}, last.Args...)
	default:
		f.say(d.coreErr != nil, "failing", format, d.coreErr)
	}
}

// surroundings says what keeps packets from the engine.
func (d *Daemon) surroundings(f *findings) {
	for _, a := range d.kernel.uncounted() {
		f.say(true, "accounting", "b4 is shown nothing, as %s: set %s in /etc/sysctl.conf.", a.Why, a.Line)
	}
	if t := d.core.tunnel; t != nil && d.core.idle == nil {
		f.add("Uplink "+t.uplink.device+": ", t.uplink.notes)
	}
	f.add("", d.set.quicNotes(d.core.choice, d.core.house.scatter))
	f.add("", d.core.house.offload.notes())
}

// wire says what of the packets the engine's counts show.
func (s *Status) wire(f *findings) {
	k, e := &s.Kernel, &s.Engine.Counters
	f.say(k.Bare >= enough && k.Opened >= enough && s.Hellos == 0, "no_hellos",
		"%d connections were opened and no ClientHello was ever seen: flow offloading, or another program, takes the packets before b4.", k.Opened)
	f.say(s.Late >= enough && s.Late > s.Hellos, "late",
		"Hellos are seen too late: of %d connections only what follows the ClientHello came to b4.", s.Late)
	f.say(e.Lost > 0, "lost", "The kernel found no room for %d packets on their way to b4; they went on untouched.", e.Lost)
	f.say(e.SendFailed > 0, "send_failed", "%d packets could not be sent; what they stood for went on untouched.", e.SendFailed)
}
