package harness

import (
	"bufio"
	"bytes"
	"net"
	"strings"
	"testing"
	"time"
)

var replies = []string{
	"+OK\r\n", "-ERR no\r\n", ":1\r\n", "$-1\r\n", "$0\r\n\r\n", "$5\r\na\r\nbc\r\n", "*-1\r\n", "*0\r\n", "*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
	"_\r\n", "#t\r\n", ",1.5\r\n", "(12345678901234567890\r\n", "!5\r\nERR x\r\n", "=7\r\ntxt:abc\r\n", "%1\r\n+a\r\n$1\r\nb\r\n", "~1\r\n:1\r\n",
	">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n", "|1\r\n+a\r\n+b\r\n:7\r\n", "+" + strings.Repeat("x", 10_000) + "\r\n",
}

func TestWay_tellsRepliesApart(t *testing.T) {
	r := bufio.NewReader(strings.NewReader(strings.Join(replies, "")))
	for _, want := range replies {
		if got, err := readFrame(r, nil); string(got) != want || err != nil {
			t.Fatalf("%.40q: %.40q, %v", want, got, err)
		}
	}
	for _, bad := range []string{"", "x\r\n", "$a\r\n", "$3\r\nab", "*2\r\n:1\r\n"} {
		if got, err := readFrame(bufio.NewReader(strings.NewReader(bad)), nil); err == nil {
			t.Errorf("%q: %q", bad, got)
		}
	}
}

// A server that says what it is told to.
func talk(t *testing.T) (server net.Conn, client net.Conn, w *Way) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if w, err = NewWay(l.Addr().String(), false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	if client, err = net.Dial("tcp4", w.Addr()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return server, client, w
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn, want string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second)) // it cannot fail on an open connection
	got := make([]byte, len(want))
	n, err := c.Read(got)
	for n < len(want) && err == nil {
		var more int
		more, err = c.Read(got[n:])
		n += more
	}
	if string(got[:n]) != want {
		t.Fatalf("heard %q, %v, want %q", got[:n], err, want)
	}
}

func TestWay_losesMessagesAndNothingElse(t *testing.T) {
	server, client, w := talk(t)
	w.Set(Mode{Which: Subscriptions, Lose: 1})
	message := ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n"
	say(t, server, message+"+1\r\n") // it is no subscription yet
	hear(t, client, message+"+1\r\n")
	say(t, client, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n")
	hear(t, server, "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n")
	say(t, server, message+"+2\r\n"+message)
	hear(t, client, "+2\r\n")
	// The last message is lost behind the reply.
	for deadline := time.Now().Add(10 * time.Second); w.Lost() != 2; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d messages lost", w.Lost())
		}
	}
	w.Set(Mode{})
	say(t, server, "+3\r\n")
	hear(t, client, "+3\r\n")
}

func TestWay_stallsAndGoesOn(t *testing.T) {
	server, client, w := talk(t)
	w.Set(Mode{Stall: true})
	say(t, client, "up")
	say(t, server, "+down\r\n")
	_ = client.SetReadDeadline(time.Now().Add(50 * time.Millisecond)) // it cannot fail on an open connection
	if n, err := client.Read(make([]byte, 1)); err == nil {
		t.Fatalf("%d bytes passed", n)
	}
	w.Set(Mode{})
	hear(t, client, "+down\r\n")
	hear(t, server, "up")
	w.Cut(false)
	if _, err := client.Read(make([]byte, 1)); err == nil {
		t.Error("a stalled connection is not cut")
	}
}

// awaitHurt waits until a mode has hurt a connection.
func awaitHurt(t *testing.T, w *Way) {
	t.Helper()
	hurt := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for l := range w.links {
			if l.hurt.Load() {
				return true
			}
		}
		return false
	}
	for deadline := time.Now().Add(10 * time.Second); !hurt(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no connection is hurt")
		}
	}
}

func TestWay_swallowsReplies(t *testing.T) {
	server, client, w := talk(t)
	w.Set(Mode{Which: Commands, Swallow: true})
	say(t, server, "+lost\r\n")
	say(t, client, "up")
	hear(t, server, "up")
	awaitHurt(t, w)
	w.Set(Mode{Which: Subscriptions, Swallow: true})
	say(t, server, "+2\r\n")
	hear(t, client, "+2\r\n")
}

// Replies that came together are late together by a delay, and one after another when they are kept
// apart.
func TestWay_isSlow(t *testing.T) {
	server, client, w := talk(t)
	const late = 30 * time.Millisecond
	for _, c := range []struct {
		mode  Mode
		least time.Duration
	}{
		{Mode{Delay: late}, late}, {Mode{Apart: late}, 10 * late}, {Mode{}, 0},
	} {
		w.Set(c.mode)
		began := time.Now()
		say(t, server, strings.Repeat("+1\r\n", 10))
		hear(t, client, strings.Repeat("+1\r\n", 10))
		if took := time.Since(began); took < c.least {
			t.Errorf("%+v: took %v", c.mode, took)
		}
	}
}

// Bytes that are not RESP pass as they are, through a way for each address.
func TestWay_passesBytesThatAreNotRESP(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	ways, err := NewWays([]string{addr, addr}, true)
	if err != nil || len(ways) != 1 {
		t.Fatalf("%d ways, %v", len(ways), err)
	}
	defer ways.Close()
	client, err := net.Dial("tcp4", ways.Map()[addr])
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	say(t, server, "\x16\x03 no line")
	hear(t, client, "\x16\x03 no line")
	ways.Set(Mode{Swallow: true})
	say(t, server, "lost")
	say(t, client, "up")
	hear(t, server, "up")
	awaitHurt(t, ways[addr])
	ways.Set(Mode{})
	ways.Cut(true)
	if n, err := client.Read(make([]byte, 8)); err == nil {
		t.Errorf("%d bytes came through a way that was cut", n)
	}
	if ways[addr].Open() > 1 {
		t.Errorf("%d connections", ways[addr].Open())
	}
}

func FuzzReadFrame(f *testing.F) {
	for _, reply := range replies {
		f.Add([]byte(reply))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 0 && bytes.ContainsAny(data, "$=!*%~>|") && len(data) < 1<<10 {
			for _, part := range bytes.FieldsFunc(data, func(r rune) bool { return r < '0' || r > '9' }) {
				if len(part) > 4 {
					return // a server may announce more than a test has memory for
				}
			}
		}
		if frame, err := readFrame(bufio.NewReader(bytes.NewReader(data)), nil); err == nil && !bytes.HasPrefix(data, frame) {
			t.Errorf("%q: %q", data, frame)
		}
	})
}
