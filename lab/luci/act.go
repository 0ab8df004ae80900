package luci

import (
	"errors"
	"fmt"
	"strings"
)

// An Element is one of the accessibility tree: what it is and what it is called, as
// a screen reader would say.
type Element struct {
	Role, Name string
	Disabled   bool

	page *Page
	node int // its backend node
}

func (e Element) String() string { return fmt.Sprintf("%s %q", e.Role, e.Name) }

// axNode is a node as the protocol gives it.
type axNode struct {
	Ignored          bool
	Role, Name       struct{ Value any }
	BackendDOMNodeID int
	Properties       []struct {
		Name  string
		Value struct{ Value any }
	}
}

func (n *axNode) element(p *Page) Element {
	e := Element{Role: fmt.Sprint(n.Role.Value), Name: strings.TrimSpace(fmt.Sprint(n.Name.Value)), page: p, node: n.BackendDOMNodeID}
	for _, q := range n.Properties {
		if q.Name == "disabled" {
			e.Disabled = q.Value.Value == true
		}
	}
	return e
}

// All returns the elements of a role below the first that a selector finds; an
// empty one is the page.
func (p *Page) All(within, role string) ([]Element, error) {
	if within == "" {
		within = "body"
	}
	id, err := p.object(within)
	if err != nil {
		return nil, err
	}
	var r struct{ Nodes []axNode }
	if err := p.call("Accessibility.queryAXTree", args{"objectId": id, "role": role}, &r); err != nil {
		return nil, err
	}
	var list []Element
	for i := range r.Nodes {
		if !r.Nodes[i].Ignored {
			list = append(list, r.Nodes[i].element(p))
		}
	}
	return list, nil
}

// Find waits for an element of a role (or one of several, with | between them) with
// a name, below what a selector finds. An element that begins with the name does where none has just it.
func (p *Page) Find(within, role, name string) (found Element, err error) {
	err = until(waitLimit, func() (err error) {
		found, err = p.find(within, role, name)
		return err
	})
	return found, err
}

func (p *Page) find(within, role, name string) (Element, error) {
	var list []Element
	for _, r := range strings.Split(role, "|") {
		some, err := p.All(within, r)
		if err != nil {
			return Element{}, err
		}
		list = append(list, some...)
	}
	for _, e := range list {
		if e.Name == name {
			return e, nil
		}
	}
	for _, e := range list {
		if strings.HasPrefix(e.Name, name) {
			return e, nil
		}
	}
	return Element{}, fmt.Errorf("no %s %q among %v", role, name, list)
}

// Click finds an element and clicks on it with the mouse, as a user would, as soon as
// it is there to be hit and enabled.
func (p *Page) Click(within, role, name string) error {
	return until(waitLimit, func() error {
		e, err := p.find(within, role, name)
		if err != nil {
			return err
		}
		return e.Click()
	})
}

// ClickOn clicks on the first element that a selector finds, for what LuCI gives
// no role.
func (p *Page) ClickOn(selector string) error {
	return until(waitLimit, func() error {
		id, err := p.object(selector)
		if err != nil {
			return err
		}
		var r struct{ Node struct{ BackendNodeID int } }
		if err := p.call("DOM.describeNode", args{"objectId": id}, &r); err != nil {
			return err
		}
		return Element{Role: "element", Name: selector, page: p, node: r.Node.BackendNodeID}.Click()
	})
}

// object finds an element.
func (p *Page) object(selector string) (id string, err error) {
	var r struct{ Result struct{ ObjectID string } }
	if err := p.call("Runtime.evaluate", args{"expression": fmt.Sprintf("document.querySelector(%q)", selector)}, &r); err != nil {
		return "", err
	}
	if r.Result.ObjectID == "" {
		return "", fmt.Errorf("there is no %s", selector)
	}
	return r.Result.ObjectID, nil
}

// Click clicks in the middle of the element.
func (e Element) Click() error {
	if e.Disabled {
		return fmt.Errorf("%v is disabled", e)
	}
	p := e.page
	if err := p.call("DOM.scrollIntoViewIfNeeded", args{"backendNodeId": e.node}, nil); err != nil {
		return fmt.Errorf("show %v: %w", e, err)
	}
	var r struct{ Quads [][]float64 }
	if err := p.call("DOM.getContentQuads", args{"backendNodeId": e.node}, &r); err != nil {
		return fmt.Errorf("find the place of %v: %w", e, err)
	}
	if len(r.Quads) == 0 || len(r.Quads[0]) < 6 {
		return fmt.Errorf("%v has no place", e)
	}
	q := r.Quads[0]
	x, y := (q[0]+q[4])/2, (q[1]+q[5])/2
	if err := e.hit(x, y); err != nil {
		return err
	}
	for _, kind := range []string{"mouseMoved", "mousePressed", "mouseReleased"} {
		a := args{"type": kind, "x": x, "y": y}
		if kind != "mouseMoved" {
			a["button"], a["clickCount"] = "left", 1
		}
		if err := p.call("Input.dispatchMouseEvent", a, nil); err != nil {
			return err
		}
	}
	p.Clicks++
	return nil
}

// hit reports whether the element, or something of it, is what is seen there.
func (e Element) hit(x, y float64) error {
	var object struct{ Object struct{ ObjectID string } }
	if err := e.page.call("DOM.resolveNode", args{"backendNodeId": e.node}, &object); err != nil {
		return err
	}
	var r struct{ Result struct{ Value bool } }
	err := e.page.call("Runtime.callFunctionOn", args{
		"objectId": object.Object.ObjectID, "returnByValue": true,
		"functionDeclaration": `function(x, y) {
			const at = document.elementFromPoint(x, y);
			return at != null && (this.contains(at) || at.contains(this) || (this.labels && [...this.labels].some(l => l.contains(at))));
		}`,
		"arguments": []args{{"value": x}, {"value": y}},
	}, &r)
	if err == nil && !r.Result.Value {
		err = fmt.Errorf("%v is hidden by something else", e)
	}
	return err
}

// Focus puts the cursor into the element.
func (e Element) Focus() error { return e.page.call("DOM.focus", args{"backendNodeId": e.node}, nil) }

// Write puts the cursor into a field and types a text in the place of what is there.
func (p *Page) Write(within, name, text string) error {
	e, err := p.Find(within, "textbox|searchbox|combobox|spinbutton", name)
	if err != nil {
		return err
	}
	if err := e.Focus(); err != nil {
		return err
	}
	if err := p.Eval("document.activeElement.select && document.activeElement.select()", nil); err != nil {
		return err
	}
	return p.Type(text)
}

// Type types a text where the cursor is.
func (p *Page) Type(text string) error {
	p.Keys += len(text)
	if err := p.call("Input.insertText", args{"text": text}, nil); err != nil {
		return err
	}
	return p.Press("Shift") // as LuCI validates when a key goes up
}

// keys are what Press knows.
var keys = map[string]struct {
	code int
	text string
}{
	"Enter": {13, "\r"}, "Tab": {9, ""}, "Escape": {27, ""}, "Shift": {16, ""}, "Backspace": {8, ""},
	"ArrowUp": {38, ""}, "ArrowDown": {40, ""}, " ": {32, " "},
}

// Press presses a key and lets it go.
func (p *Page) Press(key string) error {
	k, is := keys[key]
	if !is {
		return errors.New("unknown key " + key)
	}
	p.Keys++
	for _, kind := range []string{"keyDown", "keyUp"} {
		a := args{"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": k.code}
		if kind == "keyDown" && k.text != "" {
			a["text"] = k.text
		}
		if err := p.call("Input.dispatchKeyEvent", a, nil); err != nil {
			return err
		}
	}
	return nil
}
