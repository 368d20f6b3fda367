package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"posd/journal/chain"
	"posd/sync/ledger/pgtest"
)

func openPostgres(t *testing.T, url string) Ledger {
	t.Helper()
	return opened(t, func() (Ledger, error) { return OpenPostgres(t.Context(), url, PostgresOptions{}) })
}

func sql(t *testing.T, url, text string, args ...any) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), text, args...); err != nil {
		t.Fatal(err)
	}
}

// step enters the next n events of a journal, and moves a lane from its place by n.
func step(tx Tx, lane string, id chain.ID, from Position, n uint64) error {
	if err := tx.Expect([]chain.ID{id}); err != nil {
		return err
	}
	c, _, err := tx.Chain(id)
	if err != nil {
		return err
	}
	c.Journal = id
	for range n {
		c.Last++
		c.Events++
		if err := tx.PutRecord(id, c.Last, chain.Head{1}, fmt.Appendf(nil, "event %d", c.Last)); err != nil {
			return err
		}
	}
	to := from
	to.Seq += n
	return errors.Join(tx.PutChain(c), tx.SetPosition(lane, from, to))
}

func position(l Ledger, lane string) (p Position, err error) {
	err = l.View(context.Background(), func(tx Tx) (err error) { p, err = tx.Position(lane); return err })
	return p, err
}

// consistent says what is wrong between the events of a journal, its chain and the sum
// of the lanes that feed it.
func consistent(l Ledger, id chain.ID, lanes ...string) error {
	return l.View(context.Background(), func(tx Tx) error {
		sum := uint64(0)
		for _, lane := range lanes {
			p, err := tx.Position(lane)
			if err != nil {
				return err
			}
			sum += p.Seq
		}
		c, _, err := tx.Chain(id)
		if err != nil {
			return err
		}
		n := uint64(0)
		err = tx.Events(Cursor{Name: Name{Journal: id}, Only: true}, func(e Event) (bool, error) {
			if n++; e.Seq != n {
				return false, fmt.Errorf("event %d at place %d", e.Seq, n)
			}
			return true, nil
		})
		if err == nil && (n != sum || c.Last != sum || c.Events != sum) {
			err = fmt.Errorf("%d events, chain at %d with %d, lanes at %d", n, c.Last, c.Events, sum)
		}
		return err
	})
}

// TestTwoHubsOneLane: of two that do the same work only one moves the place, and nothing
// is entered twice. The planted mistake, a place that is compared with itself, shows.
func TestTwoHubsOneLane(t *testing.T) {
	for _, planted := range []bool{false, true} {
		t.Run(fmt.Sprintf("planted=%v", planted), func(t *testing.T) {
			url := pgtest.Shared(t).Database(t)
			hubs := []Ledger{openPostgres(t, url), openPostgres(t, url)}
			id := chain.ID{7}
			var wg sync.WaitGroup
			errs := make(chan error, 1000)
			for _, l := range hubs {
				wg.Go(func() {
					for range 60 {
						from, err := position(l, "lane")
						if err != nil {
							errs <- err
							return
						}
						target := from.Seq + 3
						err = l.Update(context.Background(), func(tx Tx) error {
							at := from
							if planted {
								if at, err = tx.Position("lane"); err != nil {
									return err
								}
								if err := step(tx, "lane", id, at, 3); err != nil {
									return err
								}
								at2 := at
								at2.Seq += 3
								to := from
								to.Seq = target
								return tx.SetPosition("lane", at2, to)
							}
							return step(tx, "lane", id, at, 3)
						})
						if err != nil && !errors.Is(err, ErrMoved) {
							errs <- err
							return
						}
					}
				})
			}
			wg.Wait()
			close(errs)
			for err := range errs {
				t.Error(err)
			}
			if err := consistent(hubs[0], id, "lane"); (err != nil) != planted {
				t.Errorf("consistent: %v", err)
			}
		})
	}
}

// TestTwoHubsOneJournal: two lanes bring the same journals, also when neither knows them
// yet: each journal's records are counted one after the other.
func TestTwoHubsOneJournal(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	hubs := []Ledger{openPostgres(t, url), openPostgres(t, url)}
	const journals = 30
	var wg sync.WaitGroup
	for i, l := range hubs {
		wg.Go(func() {
			for k := range byte(journals) {
				lane := fmt.Sprintf("lane %d of %d", i, k)
				for range 4 {
					from, err := position(l, lane)
					if err == nil {
						err = l.Update(context.Background(), func(tx Tx) error { return step(tx, lane, chain.ID{k}, from, 2) })
					}
					if err != nil {
						t.Errorf("hub %d, journal %d: %v", i, k, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	for k := range byte(journals) {
		if err := consistent(hubs[0], chain.ID{k}, fmt.Sprintf("lane 0 of %d", k), fmt.Sprintf("lane 1 of %d", k)); err != nil {
			t.Errorf("journal %d: %v", k, err)
		}
	}
}

// TestServerCrash: what was confirmed is there after a crash in the middle of commits,
// and the place agrees with the events. A place that is moved on its own shows.
func TestServerCrash(t *testing.T) {
	s := pgtest.Start(t)
	url := s.Database(t)
	l := openPostgres(t, url)
	id := chain.ID{7}
	for i, crash := range []func() error{s.Crash, s.Kill, s.Crash} {
		ctx, cancel := context.WithCancel(t.Context())
		began := make(chan struct{})
		acked := make(chan uint64, 1)
		go func() { // ends with the server
			var last uint64
			for n := 0; ; n++ {
				from, err := position(l, "lane")
				if err == nil {
					err = l.Update(ctx, func(tx Tx) error { return step(tx, "lane", id, from, 50) })
				}
				if err != nil {
					acked <- last
					return
				}
				if last = from.Seq + 50; n == 5 {
					close(began)
				}
			}
		}()
		<-began
		if err := crash(); err != nil {
			t.Fatal(err)
		}
		last := <-acked
		cancel()
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		p, err := position(l, "lane") // the old connections are found to be dead
		if err != nil {
			t.Fatal(err)
		}
		if p.Seq != last && p.Seq != last+50 {
			t.Errorf("crash %d: confirmed %d, it is at %d", i, last, p.Seq)
		}
		if err := consistent(l, id, "lane"); err != nil {
			t.Errorf("crash %d: %v", i, err)
		}
	}
	p, _ := position(l, "lane")
	update(t, l, func(tx Tx) error { return tx.SetPosition("lane", p, Position{Seq: p.Seq + 50}) })
	if consistent(l, id, "lane") == nil {
		t.Error("a place ahead of its events was not seen")
	}
}

// TestUnconfirmedCommit: a commit whose standby does not confirm it is reported
// by PostgreSQL as success with a warning, once somebody cancels it. It is ErrUnknown here, and so is everything
// until a later commit was confirmed.
func TestUnconfirmedCommit(t *testing.T) {
	s := pgtest.Start(t)
	l := openPostgres(t, s.Database(t)).(*pgLedger)
	id := chain.ID{7}
	update(t, l, func(tx Tx) error { return step(tx, "lane", id, Position{}, 1) })
	standby := func(names string) {
		t.Helper()
		for _, q := range []string{"alter system set synchronous_standby_names = '" + names + "'", "select pg_reload_conf()"} {
			if err := s.Exec(t.Context(), q); err != nil {
				t.Fatal(err)
			}
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			var now string
			if err := l.pool.QueryRow(t.Context(), "show synchronous_standby_names").Scan(&now); err == nil && now == names {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("the setting does not come")
			}
		}
	}
	standby("ghost")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { // until stop: somebody who is tired of waiting
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				s.Exec(context.Background(), "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")
			}
		}
	})
	next := func() error {
		p, err := position(l, "lane")
		if err != nil {
			return err
		}
		return l.Update(t.Context(), func(tx Tx) error { return step(tx, "lane", id, p, 1) })
	}
	l.trustWarnings = true
	if err := next(); err != nil {
		t.Errorf("the planted mistake shows itself: %v", err)
	}
	l.trustWarnings = false
	for range 2 {
		if err := next(); !errors.Is(err, ErrUnknown) {
			t.Errorf("not confirmed, and the error is %v", err)
		}
	}
	close(stop)
	wg.Wait()
	standby("")
	if err := next(); err != nil {
		t.Error(err)
	}
	if err := consistent(l, id, "lane"); err != nil {
		t.Error(err)
	}
}

func TestClaimLost(t *testing.T) {
	url := pgtest.Shared(t).Database(t)
	a, b := openPostgres(t, url), openPostgres(t, url)
	c, ok, err := a.Claim(t.Context(), "outbox")
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, ok, err := b.Claim(t.Context(), "outbox"); ok || err != nil {
		t.Fatalf("two hold it: %v, %v", ok, err)
	}
	sql(t, url, "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())")
	select {
	case <-c.Lost():
	case <-time.After(time.Minute):
		t.Fatal("the loss was not seen")
	}
	d, ok, err := b.Claim(t.Context(), "outbox")
	if !ok || err != nil {
		t.Fatalf("nobody holds it: %v, %v", ok, err)
	}
	if _, ok, err := a.Claim(t.Context(), "outbox"); ok || err != nil {
		t.Errorf("two hold it: %v, %v", ok, err)
	}
	c.Release()
	d.Release()
	if _, ok, err := a.Claim(t.Context(), "outbox"); !ok || err != nil {
		t.Errorf("after the release: %v, %v", ok, err)
	}
}

// TestRestoredBackup: a backup keeps the ledger's id and content, and is older.
func TestRestoredBackup(t *testing.T) {
	id := chain.ID{7}
	check := func(t *testing.T, l, restored Ledger) {
		t.Helper()
		p, err := position(restored, "lane")
		if err != nil || p.Seq != 5 || restored.ID() != l.ID() {
			t.Errorf("at %d, id %s, was %s, %v", p.Seq, restored.ID(), l.ID(), err)
		}
		if err := consistent(restored, id, "lane"); err != nil {
			t.Error(err)
		}
		update(t, restored, func(tx Tx) error { return step(tx, "lane", id, p, 5) })
	}
	first := func(tx Tx) error { return step(tx, "lane", id, Position{}, 5) }
	second := func(tx Tx) error { return step(tx, "lane", id, Position{Seq: 5}, 5) }
	t.Run("postgresql", func(t *testing.T) {
		s := pgtest.Shared(t)
		url, to := s.Database(t), s.Database(t)
		l := openPostgres(t, url)
		update(t, l, first)
		name := func(url string) string {
			url, _, _ = strings.Cut(url, "?")
			return filepath.Base(url)
		}
		file := filepath.Join(s.Dir(), "backup-"+name(url))
		if _, err := s.Run(t.Context(), "pg_dump", "-Fc", "-f", file, name(url)); err != nil {
			t.Fatal(err)
		}
		update(t, l, second)
		if _, err := s.Run(t.Context(), "pg_restore", "--exit-on-error", "-d", name(to), file); err != nil {
			t.Fatal(err)
		}
		check(t, l, openPostgres(t, to))
	})
	t.Run("bbolt", func(t *testing.T) {
		dir := t.TempDir()
		path, copied := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		l, err := OpenBolt(path)
		if err != nil {
			t.Fatal(err)
		}
		update(t, l, first)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		from, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer from.Close()
		to, err := os.Create(copied)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(to, from); err != nil {
			t.Fatal(err)
		}
		if err := to.Close(); err != nil {
			t.Fatal(err)
		}
		l = opened(t, func() (Ledger, error) { return OpenBolt(path) })
		update(t, l, second)
		check(t, l, opened(t, func() (Ledger, error) { return OpenBolt(copied) }))
	})
}

func TestOpenPostgresRefuses(t *testing.T) {
	s := pgtest.Shared(t)
	refused := func(url string, want error) {
		t.Helper()
		l, err := OpenPostgres(t.Context(), url, PostgresOptions{})
		if err == nil {
			l.Close()
		}
		if !errors.Is(err, want) || err == nil {
			t.Errorf("%v, want %v", err, want)
		}
	}
	foreign := s.Database(t)
	sql(t, foreign, "create schema pos")
	openPostgres(t, foreign) // made for us, empty
	foreign = s.Database(t)
	sql(t, foreign, "create schema pos; create table pos.sales (n int)")
	refused(foreign, ErrForeignStore)
	foreign = s.Database(t)
	sql(t, foreign, "create schema pos; create table pos.ledger (n int)")
	refused(foreign, ErrForeignStore)

	url := s.Database(t)
	l := openPostgres(t, url)
	sql(t, url, "update pos.ledger set schema = 99")
	refused(url, ErrNewerLedger)
	if err := l.Update(t.Context(), func(Tx) error { return nil }); !errors.Is(err, ErrNewerLedger) {
		t.Errorf("an open ledger that was brought up by another release: %v", err)
	}
	sql(t, url, "update pos.ledger set schema = $1, id = gen_random_uuid()", pgSchema())
	if err := l.View(t.Context(), func(Tx) error { return nil }); !errors.Is(err, ErrForeignStore) {
		t.Errorf("another ledger at the same place: %v", err)
	}
	if err := s.Exec(t.Context(), "create database latin encoding 'LATIN1' locale 'C' template template0"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPostgres(t.Context(), s.URL("latin"), PostgresOptions{}); err == nil || !strings.Contains(err.Error(), "UTF8") {
		t.Errorf("a database of another encoding: %v", err)
	}
	unsafe := pgtest.Start(t, "fsync=off")
	refused(unsafe.Database(t), ErrUnsafe)
}

// TestPartitions: an event's time alone chooses its month, and a month that was dropped
// comes again.
func TestPartitions(t *testing.T) {
	for payload, want := range map[string]string{
		`{"v":1,"type":"x","time":"2026-11-21T09:30:00.123Z","data":{}}`: "2026_11",
		`{"time":"2026-11-01T00:30:00+01:00"}`:                           "2026_10",
		`{"time":"2024-01-01T00:00:00Z"}`:                                "2024_01",
		`{"time":"2049-12-31T23:59:59.999Z"}`:                            "2049_12",
		`{"time":"1970-01-01T00:00:00Z"}`:                                "odd",
		`{"time":"2050-01-01T00:00:00Z"}`:                                "odd",
		`{"time":1}`:                                                     "odd", `{"data":{"time":"2026-11-21T09:30:00Z"}}`: "odd", "five": "odd", "": "odd", "[": "odd",
	} {
		got := "odd"
		if m := instantOf([]byte(payload)).month(); m != oddMonth {
			got = m.begin().Format("2006_01")
		}
		if got != want {
			t.Errorf("%s: %s, want %s", payload, got, want)
		}
	}
	url := pgtest.Shared(t).Database(t)
	l := openPostgres(t, url)
	put := func(seq uint64, at string) {
		t.Helper()
		update(t, l, func(tx Tx) error {
			return tx.PutRecord(chain.ID{1}, seq, chain.Head{1}, []byte(`{"time":"`+at+`"}`))
		})
	}
	put(1, "2024-06-30T23:59:59.999Z")
	put(2, "2024-07-01T00:00:00Z")
	put(3, "2000-07-01T00:00:00Z")
	for name, want := range map[string]int{"events_2024_06": 1, "events_2024_07": 1, "events_odd": 1} {
		var n int
		if err := l.(*pgLedger).pool.QueryRow(t.Context(), "select count(*) from pos."+name).Scan(&n); err != nil || n != want {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	sql(t, url, "select pos.drop_events_before('2024-07-15')") // came today: kept
	sql(t, url, "update pos.months set newest = '2024-07-02'")
	sql(t, url, "select pos.drop_events_before('2024-07-15')")
	var left []uint64
	if err := l.View(t.Context(), func(tx Tx) error {
		return tx.Events(Cursor{}, func(e Event) (bool, error) { left = append(left, e.Seq); return true, nil })
	}); err != nil || !slices.Equal(left, []uint64{2, 3}) {
		t.Errorf("left %v, %v", left, err)
	}
	put(4, "2024-06-30T23:59:59.999Z")
}

// TestStoresAgree does the same random things to both stores and compares all listings.
func TestStoresAgree(t *testing.T) {
	for range 3 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			bolt := opened(t, func() (Ledger, error) { return OpenBolt(path) })
			postgres := openPostgres(t, pgtest.Shared(t).Database(t))
			for round := range uint64(4) {
				a, b := transcript(t, bolt, seed, round), transcript(t, postgres, seed, round)
				if a != b {
					x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
					for i := range min(len(x), len(y)) {
						if x[i] != y[i] {
							t.Fatalf("round %d, line %d:\n%s\n%s", round, i, x[i], y[i])
						}
					}
					t.Fatalf("round %d: %d and %d lines", round, len(x), len(y))
				}
			}
		})
	}
}

// transcript does one round and tells all that the ledger answered.
func transcript(t *testing.T, l Ledger, seed, round uint64) string {
	t.Helper()
	var out bytes.Buffer
	at := time.Unix(1_800_000_000, 0).UTC()
	say := func(format string, a ...any) { fmt.Fprintf(&out, format+"\n", a...) }
	name := func(r *rand.Rand) Name {
		return Name{chain.ID{byte(r.IntN(5))}, uint64(r.IntN(40)), chain.Head{byte(r.IntN(4) + 1)}}
	}
	payload := func(n Name) []byte { // a name binds its payload, by the head
		return fmt.Appendf(nil, `{"time":"20%02d-0%d-01T00:00:00Z","x":"%v %s"}`, 20+n.Head[0]*2, n.Seq%9+1, n.Seq, strings.Repeat("y", int(n.Seq*37%300)))
	}
	written := make(map[string]bool) // a name is written once: the chain sees to that
	update(t, l, func(tx Tx) error {
		out.Reset()
		clear(written)
		r := rand.New(rand.NewPCG(seed, round))
		for range 300 {
			n := name(r)
			n.Seq += round * 40
			key := fmt.Sprint(n.Journal[0], n.Seq)
			var err error
			switch r.IntN(9) {
			case 0, 1, 2:
				if p := payload(n); !written[key] {
					err = tx.PutRecord(n.Journal, n.Seq, n.Head, p)
				}
				written[key] = true
			case 3:
				if !written[key] {
					err = tx.PutRecord(n.Journal, n.Seq, n.Head, nil)
				}
				written[key] = true
			case 4:
				if p := payload(n); !written[n.Head.String()+key] {
					err = tx.PutCopy(n, chain.ID{9}, n.Seq+1, p)
				}
				written[n.Head.String()+key] = true
			case 5:
				rows := []Receipt{{"s", "t1", fmt.Sprint(r.IntN(30)), n}, {"s", "t2", fmt.Sprint(r.IntN(30)), n}, {"s", "t1", fmt.Sprint(r.IntN(30)), name(r)}}
				var c []Receipt
				c, err = tx.PutReceipts(rows, at)
				say("colliding %v", c)
			case 6:
				err = errors.Join(tx.PutDoc("k", fmt.Sprint(r.IntN(50)), []byte(key)), tx.DeleteDoc("k", fmt.Sprint(r.IntN(50))))
			case 7:
				err = tx.PutHole(Hole{n.Journal, n.Seq, n.Seq + 3, at})
			case 8:
				h, ok, err1 := tx.Head(n.Journal, n.Seq)
				p, ok2, err2 := tx.Event(n)
				if !ok2 {
					p = nil
				}
				say("head of %s: %s %v; event: %s %v", key, h, ok, p, ok2)
				err = errors.Join(err1, err2)
			}
			if err != nil {
				return err
			}
		}
		return tx.PutChain(Chain{Journal: chain.ID{byte(round)}, Store: "s", Terminal: "t", Last: round, Head: chain.Head{1}, Updated: at, Held: "\x00\xffé"})
	})
	r := rand.New(rand.NewPCG(seed, ^round))
	if err := l.View(t.Context(), func(tx Tx) error {
		for i := range 20 {
			c := Cursor{name(r), i%2 == 0}
			if i%3 == 0 {
				c.Head = chain.Head{}
			}
			if i == 0 {
				c = Cursor{}
			}
			say("cursor %+v", c)
			if err := tx.Events(c, func(e Event) (bool, error) { say("%+v", e); return true, nil }); err != nil {
				return err
			}
		}
		n, err1 := tx.CollisionCount()
		say("%d collisions", n)
		return errors.Join(err1,
			tx.Collisions(Receipt{}, func(r Receipt, at time.Time) (bool, error) { say("%v %v", r, at); return true, nil }),
			tx.Holes(func(h Hole) error { say("%v", h); return nil }),
			tx.Chains(func(c Chain) error { say("%+v", c); return nil }),
			tx.Docs("k", "", func(k string, v []byte) (bool, error) { say("%s %s", k, v); return true, nil }))
	}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
