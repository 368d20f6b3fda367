package trust_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/wire"
)

const journalID = "00112233445566778899aabbccddeeff"

// targets are the subjects that a hostile terminal s1.t1 would like to reach. What is
// its own is not among them.
var targets = []string{
	"pos.up.0.s1.t2." + journalID, "pos.up.0.s2.t1." + journalID, "pos.up.1.s1.t1." + journalID, "pos.up.0.s1.t1.a.b",
	"pos.hb.0.s1.t2", "pos.hb.1.s1.t1", "pos.ans.0.s1.t2.7", "pos.ans.0.s2.t1.7",
	"$KV.pos_cfg.s1.t1.config", "$KV.pos_cfg.s1.t2.config", "$KV.pos_cfg.s1.t2.watermark." + journalID, "$KV.pos_cfg.all.x",
	"pos.cfg.s1.t2.watermark." + journalID, "pos.cfg.s1.t2.config", "pos.cfg.all.hub.0",
	"pos.cmd.s1.t2.status", "pos.cmd.s2.t1.rotate-key",
	"pos.events.s1.sale.completed", "pos.victim.x",
	"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.STREAM.INFO.POS_UP_0",
	"$JS.API.STREAM.CREATE.EVIL", "$JS.API.STREAM.UPDATE.POS_UP_0", "$JS.API.STREAM.DELETE.VICTIM", "$JS.API.STREAM.PURGE.POS_EVENTS",
	"$JS.API.STREAM.MSG.GET.POS_UP_0", "$JS.API.STREAM.MSG.DELETE.POS_EVENTS", "$JS.API.STREAM.SNAPSHOT.POS_UP_0", "$JS.API.STREAM.LEADER.STEPDOWN.POS_UP_0",
	"$JS.API.CONSUMER.CREATE.POS_UP_0", "$JS.API.CONSUMER.CREATE.POS_UP_0.evil.pos.up.>", "$JS.API.CONSUMER.NAMES.POS_UP_0",
	"$JS.API.CONSUMER.DURABLE.CREATE.POS_UP_0.evil", "$JS.API.CONSUMER.DELETE.POS_UP_0.ingest", "$JS.API.CONSUMER.MSG.NEXT.POS_UP_0.ingest",
	"$JS.API.DIRECT.GET.POS_UP_0", "$JS.API.DIRECT.GET.KV_pos_cfg", "$JS.API.DIRECT.GET.POS_UP_0.pos.up.0.s1.t2." + journalID,
	"$JS.API.DIRECT.GET.KV_pos_cfg.$KV.pos_cfg.s1.t2.config", "$JS.API.DIRECT.GET.KV_pos_cfg.$KV.pos_cfg.>", "$JS.API.DIRECT.GET.POS_EVENTS.pos.events.s1.sale.completed",
	"$KV.pos_cat." + journalID, "$JS.API.DIRECT.GET.KV_pos_cat", "$JS.API.DIRECT.GET.KV_pos_cat.$KV.pos_cat.>", "$JS.API.DIRECT.GET.KV_pos_cat.$KV.pos_cfg.s1.t2.config",
	"$JS.API.STREAM.PURGE.KV_pos_cat", "$JS.API.STREAM.MSG.DELETE.KV_pos_cat",
	"$JS.API.ACCOUNT.PURGE.HUB", "$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE", "$JS.ACK.POS_UP_0.ingest.1.1.1.1.0", "$JS.FC.POS_UP_0.x.y",
	"$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.CLAIMS.LIST", "$SYS.REQ.ACCOUNT.HUB.CONNZ", "$SYS.ACCOUNT.HUB.CONNECT",
	"_INBOX.abc.def", "_INBOX_s1.t2.abc.def", "_INBOX_s1_t2.abc", "_R_.abc.def", "$NRG.V.x", "anything",
}

// listens are the patterns that it would like to hear.
var listens = []string{
	">", "*", "pos.>", "pos.*.>", "pos.up.>", "pos.up.0.s1.t1.*", "pos.up.0.s1.t2.*", "pos.hb.>", "pos.ans.>", "pos.ans.0.s1.t2.>",
	"pos.cfg.>", "pos.cfg.*.*.>", "pos.cfg.s1.>", "pos.cfg.s1.t2.>", "pos.cfg.s2.t1.>", "pos.cmd.>", "pos.cmd.s1.*.>", "pos.cmd.s1.t2.>",
	"pos.events.>", "$KV.>", "$KV.pos_cfg.s1.t2.>", "$KV.pos_cfg.s1.t1.>", "$KV.pos_cat.>", "$JS.>", "$JS.EVENT.ADVISORY.>", "$SYS.>", "$SYS.ACCOUNT.*.CONNECT",
	"_INBOX.>", "_INBOX_s1.>", "_INBOX_s1.*.>", "_INBOX_s1.t2.>", "_INBOX_s2.t1.>", "_R_.>", "$NRG.>",
}

// record collects messages.
type record struct {
	mu  sync.Mutex
	all []string
}

func (r *record) add(m *nats.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, m.Subject+" "+string(m.Data))
}

func (r *record) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// look is all that stands in the hub's streams but for what s1.t1 may write.
func look(t testing.TB, js jetstream.JetStream) map[string]string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), giveUp)
	defer cancel()
	all := map[string]string{}
	l := js.ListStreams(ctx)
	for i := range l.Info() {
		c := i.Config
		all[c.Name] = fmt.Sprint(c.Subjects, c.AllowDirect, c.DenyDelete, c.DenyPurge, c.MaxMsgs, c.MaxBytes, c.MaxAge)
		s, err := js.Stream(ctx, c.Name)
		if err != nil {
			t.Fatal(err)
		}
		for n := range s.ListConsumers(ctx).Info() {
			all[c.Name+"/"+n.Name] = fmt.Sprint(n.Config.FilterSubject, n.AckFloor.Stream)
		}
		for seq := max(i.State.FirstSeq, 1); seq <= i.State.LastSeq; seq++ {
			m, err := s.GetMsg(ctx, seq)
			if err != nil || strings.HasPrefix(m.Subject, "pos.up.0.s1.t1.") {
				continue
			}
			all[fmt.Sprintf("%s %s %d", c.Name, m.Subject, seq)] = string(m.Data)
		}
	}
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// breaches has a hostile terminal s1.t1 do all that it can, and returns what came of
// it beyond its own part.
func breaches(t *testing.T, s site) (found []string) {
	hub, victim, d := s.hub(t), s.device(t, "s1", "t2"), s.device(t, "s1", "t1")
	js := streams(t, hub, 1)
	ctx, cancel := context.WithTimeout(t.Context(), giveUp)
	defer cancel()
	put := func(subject, body string) {
		t.Helper()
		if _, err := js.Publish(ctx, subject, []byte(body)); err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
	}
	put("pos.up.0.s1.t2."+journalID, "secret of t2")
	put("pos.events.s1.sale.completed", "secret event")
	put("$KV.pos_cfg.s1.t2.config", "secret config")
	put("pos.victim.x", "secret")
	put("$KV.pos_cat."+journalID, "a chunk")
	if _, err := js.CreateOrUpdateConsumer(ctx, "POS_UP_0", jetstream.ConsumerConfig{Durable: "ingest", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	before := look(t, js)
	// What catalogues are made of is for all who know its name.
	if m, err := d.RequestWithContext(ctx, "$JS.API.DIRECT.GET.KV_pos_cat.$KV.pos_cat."+journalID, nil); err != nil || string(m.Data) != "a chunk" {
		t.Errorf("a chunk: %+v, %v", m, err)
	}

	var heard, seen, got record // by the victim, in the hub's account, by the hostile terminal
	flush := func() {
		t.Helper()
		for _, nc := range []*nats.Conn{d, hub, victim, d} {
			if err := nc.FlushTimeout(giveUp); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustSub := func(nc *nats.Conn, subject string, r *record) {
		t.Helper()
		if _, err := nc.Subscribe(subject, r.add); err != nil {
			t.Fatal(err)
		}
	}
	vp, _ := wire.DevicePermissions(0, "s1", "t2")
	for _, p := range vp.Subscribe {
		mustSub(victim, p, &heard)
	}
	for _, p := range []string{"pos.>", "_INBOX.abc.>"} {
		mustSub(hub, p, &seen)
	}
	for _, p := range listens {
		mustSub(d, p, &got)
		if _, err := d.QueueSubscribe(p, "ingest", got.add); err != nil {
			t.Fatal(err)
		}
	}
	flush()

	own := "pos.up.0.s1.t1." + journalID
	inbox := wire.InboxPrefix("s1", "t1") + ".answers"
	var answers record
	mustSub(d, inbox+".>", &answers)
	forged := []byte(`{"forged":true}`)
	for i, target := range targets {
		d.Publish(target, forged)
		for j, body := range []string{"", string(forged), `{"seq":1}`, `{"last_by_subj":"` + "pos.up.0.s1.t2." + journalID + `"}`, `{"multi_last":[">"],"up_to_seq":9}`,
			`{"name":"EVIL","subjects":["evil.>"]}`, `{"stream_name":"POS_UP_0","config":{"deliver_subject":"` + inbox + `.push","filter_subject":"pos.up.>"}}`} {
			d.PublishRequest(target, fmt.Sprintf("%s.%d.%d", inbox, i, j), []byte(body))
		}
		// The answers to what is allowed, sent to where publishing is not.
		d.PublishRequest(own, target, forged)
		d.PublishRequest("$JS.API.DIRECT.GET.POS_UP_0."+own, target, nil)
		d.PublishRequest("$JS.API.DIRECT.GET.KV_pos_cfg.$KV.pos_cfg.s1.t1.config", target, nil)
		d.PublishRequest("$JS.API.DIRECT.GET.KV_pos_cat.$KV.pos_cat."+journalID, target, nil)
		d.PublishRequest("pos.hb.0.s1.t1", target, forged)
		d.PublishRequest("pos.ans.0.s1.t1.1", target, forged)
		d.PublishMsg(&nats.Msg{Subject: own, Data: forged, Header: nats.Header{"Nats-Trace-Dest": {target}, "Nats-Rollup": {"all"}, "Nats-Schedule-Target": {target}}})
	}
	// Other questions to the streams that it may ask, and wildcards for names.
	for i, body := range []string{`{"seq":1}`, `{"last_by_subj":"pos.up.0.s1.t2.` + journalID + `"}`, `{"multi_last":["pos.up.>"]}`, `{"next_by_subj":"pos.up.>","batch":9,"seq":1}`} {
		d.PublishRequest("$JS.API.DIRECT.GET.POS_UP_0."+own, fmt.Sprintf("%s.own.%d", inbox, i), []byte(body))
		d.PublishRequest("$JS.API.DIRECT.GET.POS_UP_0.pos.up.0.s1.t1.>", fmt.Sprintf("%s.any.%d", inbox, i), []byte(body))
	}
	d.Publish("pos.up.0.s1.t1.*", forged)
	d.Publish("pos.up.0.s1.t1.>", forged)
	flush()

	// Life goes on, and it must not hear of it.
	put("pos.up.0.s1.t2."+journalID, "more of t2")
	put("$KV.pos_cfg.s1.t2.config", "new config")
	hub.Publish("pos.cmd.s1.t2.status", []byte("order"))
	victim.Publish("pos.hb.0.s1.t2", []byte("alive"))
	hub.Publish("pos.cfg.all.hub.0", []byte("pulse"))
	flush()
	time.Sleep(300 * time.Millisecond) // for what must not come
	flush()

	for _, m := range heard.list() {
		if m != "pos.cfg.s1.t2.config new config" && m != "pos.cmd.s1.t2.status order" && m != "pos.cfg.all.hub.0 pulse" && m != "_" {
			found = append(found, "reached the other terminal: "+m)
		}
	}
	for _, m := range seen.list() {
		own := strings.HasPrefix(m, "pos.up.0.s1.t1.") || strings.HasPrefix(m, "pos.hb.0.s1.t1 ") || strings.HasPrefix(m, "pos.ans.0.s1.t1.")
		if !own && strings.Contains(m, "forged") || strings.HasPrefix(m, "_INBOX") || (!own && strings.Contains(m, `"stream":"POS_UP_0"`)) {
			found = append(found, "reached the hub's account: "+m)
		}
	}
	mine, _ := wire.DevicePermissions(0, "s1", "t1")
	for _, m := range append(got.list(), answers.list()...) {
		if strings.Contains(m, "secret") || strings.Contains(m, "of t2") || strings.Contains(m, "config") && strings.Contains(m, "t2") || strings.Contains(m, "order") || strings.Contains(m, "alive") ||
			strings.Contains(m, "server_id") || strings.Contains(m, "io.nats") {
			found = append(found, fmt.Sprintf("heard %s (may: %v)", m, mine.Subscribe))
		}
	}
	after := look(t, js)

	for k, v := range after {
		if v == "new config" || v == "more of t2" {
			delete(after, k)
		}
	}
	for k, v := range before {
		if after[k] != v && v != "secret config" { // the bucket keeps the newest value only
			found = append(found, fmt.Sprintf("changed: %s was %q, is %q", k, v, after[k]))
		}
	}
	for k := range maps.Keys(after) {
		if _, ok := before[k]; !ok {
			found = append(found, fmt.Sprintf("added: %s %q", k, after[k]))
		}
	}
	return found
}

// TestHostile: a terminal's credentials are good for its own part and nothing else.
func TestHostile(t *testing.T) {
	for name, s := range map[string]func(testing.TB) site{
		"operator": operatorSite,
		"embedded": embeddedSite,
		"cert":     func(t testing.TB) site { return certSite(t, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, b := range breaches(t, s(t)) {
				t.Error(b)
			}
		})
	}
}

// TestHostileSeesTooMuch: the same with too wide a list, and with all terminals in one
// account, where the permissions are right and the answers go astray.
func TestHostileSeesTooMuch(t *testing.T) {
	for name, change := range map[string]func(string) string{
		"a star too many": func(c string) string { return strings.ReplaceAll(c, "pos.up.0.s1.t1.*", "pos.up.0.s1.>") },
		"the bucket": func(c string) string {
			return strings.ReplaceAll(c, "$JS.API.DIRECT.GET.KV_pos_cfg.$KV.pos_cfg.s1.t1.>", "$JS.API.DIRECT.GET.KV_pos_cfg.>")
		},
		"all configurations": func(c string) string { return strings.ReplaceAll(c, "pos.cfg.s1.t1.>", "pos.cfg.s1.>") },
		"one account":        oneAccount,
	} {
		t.Run(name, func(t *testing.T) {
			b := breaches(t, certSite(t, change))
			if len(b) == 0 {
				t.Fatal("nothing was noticed")
			}
			t.Logf("%d breaches, such as: %s", len(b), b[0])
		})
	}
}

// oneAccount moves the users of all terminals into the hub's account.
func oneAccount(c string) string {
	head, rest, _ := strings.Cut(c, "accounts {")
	var users []string
	for line := range strings.Lines(rest) {
		if strings.Contains(line, "{user:") || strings.Contains(line, "publish:") || strings.Contains(line, "subscribe:") {
			users = append(users, line)
		}
	}
	return head + "accounts { SYS: {}\n HUB: { jetstream: enabled\n users: [\n" + strings.Join(users, "") + "]}}\n"
}
