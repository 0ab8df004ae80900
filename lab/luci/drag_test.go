package luci

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"b4/lab"
)

// Rules are dragged with the mouse, or with a finger, and b4d goes by the order: a
// site that is left alone by a rule further down is treated by the one above it.
func TestDragRule(t *testing.T) {
	v := visit(t, enabled+"\nconfig rule 'alone'\n\tlist domain '"+lab.Blocked+"'\n\toption action 'pass'\n")
	row := func(rule string) string { return "#view tr[data-sid=" + rule + "]" }
	for _, way := range []struct {
		name   string
		touch  bool
		screen Screen
		drag   func(*Page, string, string, float64) error
		from   string
		to     string
		part   float64 // of the row that it is dropped on
		want   []string
	}{
		{"mouse", false, Desk, (*Page).Drag, "alone", "all", 0.2, []string{"alone", "all"}},
		{"finger", true, Phone, (*Page).Swipe, "alone", "all", 0.8, []string{"all", "alone"}},
	} {
		v.open(way.screen)
		if way.touch {
			v.must(v.Touch())
		}
		v.see("rules")
		v.must(v.Eval(`document.querySelector('#view .table').scrollIntoView({block: 'center'})`, nil))
		v.must(way.drag(v.Page, row(way.from)+" .drag-handle", row(way.to), way.part))
		v.try(way.name, func() error {
			var got []string
			v.must(v.Eval(`[...document.querySelectorAll('#view tr[data-sid]')].map(e => e.dataset.sid)`, &got))
			if !slices.Equal(got, way.want) {
				return fmt.Errorf("the page has %v, want %v", got, way.want)
			}
			return nil
		})
		text, err := v.Text()
		v.must(err)
		if said := strings.Contains(text, "Never reached"); said != (way.want[0] == "all") {
			t.Errorf("%s: the page says that a rule is never reached: %v", way.name, said)
		}
		v.saveAndApply()
		v.inOrder(way.want...)
		v.must(v.Write("", "Host", lab.Blocked))
		v.must(v.Click("", "button", "Test"))
		if way.want[0] == "all" {
			v.must(v.WaitText("Rule \u2068all\u2069 matches"))
			v.try("the blocked page", v.opens)
		} else {
			v.must(v.WaitText("b4 leaves all connections to this host alone."))
			if v.opens() == nil {
				t.Error("the page opens past the rule that leaves it alone")
			}
		}
		v.clean(v.s.Calls())
	}
}

// The steps of a strategy are dragged by their grips, within what may follow what.
func TestDragStep(t *testing.T) {
	v := visit(t, enabled+"\nconfig strategy 'mine'\n\toption tls 'split(1) disorder seqovl(8) dup(1)'\n")
	card := func(n int) string { return fmt.Sprintf("#view .b4-card:nth-child(%d)", n) }
	text := func(want string) {
		t.Helper()
		v.try("the text", func() error {
			var got string
			v.must(v.Eval(`document.querySelector('#view textarea').value`, &got))
			if got != want {
				return errors.New("it is " + got)
			}
			return nil
		})
	}
	v.open(Screen{1280, 2000, false}) // all cards are seen
	v.see("strategies")
	v.must(v.Click("", "button", "Edit mine"))
	v.must(v.Wait(`document.querySelectorAll('#view .b4-card').length == 4`))
	v.must(v.Drag(card(1)+" .b4-grip", card(2), 0.5))
	text("disorder split(1) seqovl(8) dup(1)")
	v.must(v.Drag(card(1)+" .b4-grip", card(4)+" input", 0.5)) // dup comes behind all steps of the message
	v.must(v.Drag(card(4)+" .b4-grip", card(2)+" input", 0.5))
	text("disorder split(1) seqovl(8) dup(1)")
	v.must(v.Drag(card(3)+" .b4-grip", card(1), 0.5))
	text("seqovl(8) disorder split(1) dup(1)")

	// By keys: the button keeps the focus as its card moves.
	v.must(v.Eval(`document.querySelectorAll('#view .b4-card')[2].querySelector('button').focus()`, nil))
	v.must(v.Press(" "))
	text("seqovl(8) split(1) disorder dup(1)")
	v.must(v.Press("Enter"))
	text("split(1) seqovl(8) disorder dup(1)")
	v.saveAndApply()
	v.configured("option tls 'split(1) seqovl(8) disorder dup(1)'")
	v.must(v.running())
	v.clean(v.s.Calls())
}
