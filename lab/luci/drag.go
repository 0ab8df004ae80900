package luci

import (
	"fmt"
	"time"
)

// A spot is a place on the screen.
type spot struct{ X, Y float64 }

// spotOf is where an element is seen, at a part of its height from the top.
func (p *Page) spotOf(selector string, part float64) (at spot, err error) {
	err = p.Eval(fmt.Sprintf(`(e => {
		const r = e.getBoundingClientRect();
		return {X: r.left + r.width / 2, Y: r.top + r.height * %v};
	})(document.querySelector(%q))`, part, selector), &at)
	return at, err
}

// dragSteps are the moves of a drag: a browser takes a single one for no drag.
const dragSteps = 8

// way is the places between two, the last one included.
func way(from, to spot) (list []spot) {
	for i := 1; i <= dragSteps; i++ {
		part := float64(i) / dragSteps
		list = append(list, spot{from.X + (to.X-from.X)*part, from.Y + (to.Y-from.Y)*part})
	}
	return list
}

// Drag takes an element with the mouse and lets it go over another one, at a part of
// its height from the top. Both must be on the screen.
func (p *Page) Drag(from, to string, part float64) error {
	start, end, err := p.ends(from, to, part)
	if err != nil {
		return err
	}
	send := func(kind string, at spot) {
		if err == nil {
			err = p.call("Input.dispatchMouseEvent", args{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1}, nil)
		}
	}
	if err := p.call("Input.dispatchMouseEvent", args{"type": "mouseMoved", "x": start.X, "y": start.Y}, nil); err != nil {
		return err
	}
	send("mousePressed", start)
	for _, at := range append(way(start, end), end) { // a move enters, the next one is over
		send("mouseMoved", at)
		time.Sleep(frame)
	}
	send("mouseReleased", end)
	return err
}

// frame is longer than the browser takes to draw what a move changes.
const frame = 40 * time.Millisecond

// Swipe is Drag with a finger, on a screen that knows of fingers.
func (p *Page) Swipe(from, to string, part float64) error {
	start, end, err := p.ends(from, to, part)
	if err != nil {
		return err
	}
	send := func(kind string, points ...spot) {
		if err == nil {
			list := []args{}
			for _, at := range points {
				list = append(list, args{"x": at.X, "y": at.Y})
			}
			err = p.call("Input.dispatchTouchEvent", args{"type": kind, "touchPoints": list}, nil)
		}
	}
	send("touchStart", start)
	for _, at := range way(start, end) {
		send("touchMove", at)
		time.Sleep(frame)
	}
	send("touchEnd")
	return err
}

// ends are where a drag begins and where it ends.
func (p *Page) ends(from, to string, part float64) (start, end spot, err error) {
	if start, err = p.spotOf(from, 0.5); err == nil {
		end, err = p.spotOf(to, part)
	}
	return start, end, err
}

// Touch makes the page's screen one that is touched, from the next load on.
func (p *Page) Touch() error {
	return p.call("Emulation.setTouchEmulationEnabled", args{"enabled": true, "maxTouchPoints": 1}, nil)
}
