package desync

import (
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// compose makes a strategy of words and arguments that help lists. Most of them
// parse; of the others the parser must say what is wrong.
func compose(r *rand.Rand, pr Proto) string {
	var steps []StepHelp
	for _, h := range Steps() {
		if index(h.For, pr.String()) >= 0 {
			steps = append(steps, h)
		}
	}
	var chosen []int
	for range r.Intn(6) {
		chosen = append(chosen, r.Intn(len(steps)))
	}
	if r.Intn(20) > 0 {
		slices.SortStableFunc(chosen, func(a, b int) int { return order(&steps[a]) - order(&steps[b]) })
	}
	var text []string
	for _, i := range chosen {
		text = append(text, randomStep(r, pr, &steps[i]))
	}
	return strings.Join(text, " ")
}

func order(h *StepHelp) int { return index([]string{"syn", "message", "packet"}, h.Phase) }

func randomStep(r *rand.Rand, pr Proto, h *StepHelp) string {
	var args []string
	fooled := r.Intn(2) == 0
	for i := range h.Params {
		q := &h.Params[i]
		need := q.Required || q.Name == fooling && fooled || q.Name == "ttl" && !fooled
		for (need || r.Intn(4) == 0) && len(args) < maxSteps {
			args = append(args, randomValue(r, pr, q))
			if need = false; !q.Many {
				break
			}
		}
	}
	if len(args) == 0 {
		return h.Name
	}
	return h.Name + "(" + strings.Join(args, ", ") + ")"
}

func randomValue(r *rand.Rand, pr Proto, q *ParamHelp) (v string) {
	switch q.Kind {
	case "number":
		n := q.Min + r.Intn(q.Max-q.Min+1)
		if r.Intn(2) == 0 {
			n = q.Min + r.Intn(min(q.Max-q.Min+1, 32))
		}
		v = strconv.Itoa(n - n%max(q.Multiple, 1))
	case "word":
		v = q.Words[r.Intn(len(q.Words))]
	case "position":
		names := append(markerNames(pr), "", "")
		name, off := names[r.Intn(len(names))], r.Intn(60)-20
		if v = strconv.Itoa(off); name != "" {
			v = fmt.Sprintf("%s%+d", name, off)
		}
	case "host":
		v = []string{"a.example", "www.w3.org", "x", strings.Repeat("long.", 40) + "example"}[r.Intn(4)]
	case "path":
		v = "/etc/b4/decoy"
	case "ttl": // the model is 10 hops away
		v = []string{"auto", "auto-1", "auto-" + strconv.Itoa(r.Intn(20)), strconv.Itoa(1 + r.Intn(reach-1)), "auto+2"}[r.Intn(5)]
	}
	if q.Keyed {
		return q.Name + "=" + v
	}
	return v
}

// planErrors are why a message goes as it came.
var planErrors = []error{errUrgent, errUnfooled, errNoOverlap, errTooMany, errHead, errSpace, errField}

// randomEnv is a message in a connection, the fewest of them usual.
func randomEnv(t *testing.T, r *rand.Rand, pr Proto) *Env {
	v6 := r.Intn(2) == 0
	var e *Env
	switch pr {
	case HTTP:
		e = httpEnv(t, v6, []string{browserHead, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "\r\nPOST http://b.example./x HTTP/1.1\nhost:b.example:80\nX: y\n\nbody"}[r.Intn(3)])
	case QUIC:
		e = quicEnv(t, v6, 300+r.Intn(700), 1200+r.Intn(100))
	default:
		e = env(t, v6, 200+r.Intn(2800))
	}
	e.Rand = r.Uint64()
	e.Conn.Hops = []uint8{reach - 1, reach - 1, 0}[r.Intn(3)]
	e.Conn.First = r.Intn(4) > 0
	if pr == QUIC {
		return e
	}
	e.Conn.MTU = []int{576, 1280, 1400, 1492, 1500}[r.Intn(5)]
	if r.Intn(3) == 0 { // without timestamps
		e.Conn.Header = e.Conn.Header[:e.Conn.IPLen+20]
		e.Conn.Header[e.Conn.IPLen+12] = 5 << 4
	}
	if r.Intn(4) == 0 && !v6 {
		e.Conn.Header[6] = 0 // without DF
	}
	return e
}

// Every sequence of steps runs, or is refused with its place. What runs lets the
// server read what the client wrote, in any order of arrival: 10 000 random
// strategies and messages, the same ones each time.
func TestRandomStrategies(t *testing.T) {
	pairs := 10_000
	if testing.Short() {
		pairs = 500
	}
	for pr := range Protos {
		t.Run(pr.String(), func(t *testing.T) {
			r := rand.New(rand.NewSource(1 + int64(pr)))
			refused, left, ran := 0, 0, 0
			share := map[Proto]int{TLS: pairs * 8 / 10, HTTP: pairs / 10, QUIC: pairs / 10}[pr]
			for ran < share {
				text := compose(r, pr)
				s, err := pr.ParseWith(text, readAny)
				if err != nil {
					var e *Error
					if !errors.As(err, &e) || e.Pos < 0 || e.Pos > len(text) || e.Msg == "" {
						t.Fatalf("%q: %v", text, err)
					}
					refused++
					continue
				}
				e := randomEnv(t, r, pr)
				if err := s.Plan(new(Plan), e); err != nil {
					if !slices.Contains(planErrors, err) {
						t.Fatalf("%s: %v", s, err)
					}
					left++
					continue
				}
				ran++
				switch pr {
				case TLS:
					check(t, s, e)
					syn := synEnv(ran%2 == 0, false)
					syn.Conn.Hops, syn.Rand = e.Conn.Hops, e.Rand
					checkSYN(t, s, syn)
				case HTTP:
					checkHTTP(t, s, e)
				case QUIC:
					checkQUIC(t, s, e)
				}
				if t.Failed() {
					t.Fatalf("%s", s)
				}
			}
			t.Logf("%d ran, %d were left as they came, %d refused", ran, left, refused)
			if refused > ran || left > ran {
				t.Error("most of the strategies do not run, so that this test says little")
			}
		})
	}
}
