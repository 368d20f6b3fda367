package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"posd/sync/outbox"
	"posd/sync/wire"
)

// StreamSet is what poshub needs on NATS servers: a stream of parcels for each shard,
// the bucket of notices, and the stream of events.
type StreamSet struct {
	Shards   []int
	Replicas int           // copies in a cluster
	MaxAge   time.Duration // of parcels and events
	MaxBytes int64         // of each stream; -1 = no limit
	Tags     []string      // where in a cluster they may lie
}

// minAge is the least sensible age of parcels: longer than a terminal's time offline
// and than the backups that may be restored.
const minAge = 90 * 24 * time.Hour

func (o *StreamSet) up(shard int) jetstream.StreamConfig {
	return upStream(fmt.Sprintf("POS_UP_%d", shard), shard, o.Replicas, o.MaxAge, o.MaxBytes, o.Tags)
}

// prepareEvents makes the stream of events, or brings it up to this release's settings.
func (h *Hub) prepareEvents(ctx context.Context) error {
	c := outbox.StreamConfig("", h.opt.Replicas, h.opt.MaxAge, h.opt.MaxBytes)
	err := attempt(ctx, func(ctx context.Context) error {
		c.Placement = placement(h.tagsOf(ctx, c.Name))
		_, err := h.js.CreateOrUpdateStream(ctx, c)
		return err
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", c.Name, err)
	}
	return nil
}

// publishEvents runs the outbox until ctx ends, if it is this hub's to publish.
func (h *Hub) publishEvents(ctx context.Context) error {
	if h.opt.NoEvents {
		<-ctx.Done()
		return nil
	}
	return h.outbox.Run(ctx)
}

// upStream is the stream of parcels of one shard.
func upStream(name string, shard, replicas int, age time.Duration, size int64, tags []string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Description: "parcels of terminals, made by poshub",
		Subjects:  []string{wire.UpPrefix(shard) + ">"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
		MaxMsgs: -1, MaxBytes: size, MaxAge: age, MaxMsgsPerSubject: -1, MaxConsumers: -1,
		Replicas: replicas, AllowDirect: true, DenyDelete: true, Placement: placement(tags),
	}
}

// bucket is what poshub tells terminals.
func bucket(replicas int, tags []string) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: wire.Bucket, Description: "what poshub tells terminals", History: 1,
		Storage: jetstream.FileStorage, Replicas: replicas, Placement: placement(tags),
		RePublish: &jetstream.RePublish{Source: wire.BucketPrefix + ">", Destination: wire.LivePrefix + ">"},
	}
}

// contents is the bucket of what catalogues are made of.
func contents(replicas int, tags []string) jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: wire.ContentBucket, Description: "what catalogues are made of, by SHA-256", History: 1,
		Storage: jetstream.FileStorage, Replicas: replicas, Placement: placement(tags),
	}
}

func placement(tags []string) *jetstream.Placement {
	if len(tags) == 0 {
		return nil
	}
	return &jetstream.Placement{Tags: tags}
}

// tagsOf is where a stream was told to lie, which an update must not change.
func (h *Hub) tagsOf(ctx context.Context, stream string) []string {
	s, err := h.js.Stream(ctx, stream)
	if err != nil || s.CachedInfo().Config.Placement == nil {
		return nil
	}
	return s.CachedInfo().Config.Placement.Tags
}

func (o *StreamSet) events() jetstream.StreamConfig {
	c := outbox.StreamConfig("", o.Replicas, o.MaxAge, o.MaxBytes)
	c.Placement = placement(o.Tags)
	return c
}

// Init makes the streams and the bucket, or brings them up to what they should be.
func (o *StreamSet) Init(ctx context.Context, js jetstream.JetStream) error {
	for _, n := range o.Shards {
		if err := attempt(ctx, func(ctx context.Context) error { _, err := js.CreateOrUpdateStream(ctx, o.up(n)); return err }); err != nil {
			return fmt.Errorf("stream POS_UP_%d: %w", n, err)
		}
	}
	if err := attempt(ctx, func(ctx context.Context) error {
		_, err := js.CreateOrUpdateKeyValue(ctx, bucket(o.Replicas, o.Tags))
		return err
	}); err != nil {
		return fmt.Errorf("bucket %s: %w", wire.Bucket, err)
	}
	if err := attempt(ctx, func(ctx context.Context) error {
		_, err := js.CreateOrUpdateKeyValue(ctx, contents(o.Replicas, o.Tags))
		return err
	}); err != nil {
		return fmt.Errorf("bucket %s: %w", wire.ContentBucket, err)
	}
	if err := attempt(ctx, func(ctx context.Context) error { _, err := js.CreateOrUpdateStream(ctx, o.events()); return err }); err != nil {
		return fmt.Errorf("stream %s: %w", outbox.Stream, err)
	}
	return nil
}

// Grade of a finding.
type Grade string

// Grades, from good to bad.
const (
	Fine    Grade = "ok"
	Unknown Grade = "unknown"
	Unsafe  Grade = "UNSAFE"
)

// Finding is one thing that was looked at.
type Finding struct {
	Grade Grade
	Of    string // the stream, or the server
	What  string // how it is, and why that is bad
}

// Check compares what is there with what has to be, and looks for what loses events.
// monitors are the monitoring addresses of the servers (http://host:8222), if known: only
// they, or the system account, tell how a server syncs.
func (o *StreamSet) Check(ctx context.Context, nc *nats.Conn, js jetstream.JetStream, monitors []string) ([]Finding, error) {
	var out []Finding
	want := map[string]jetstream.StreamConfig{outbox.Stream: o.events(), wire.BucketStream: {}, wire.ContentStream: {}}
	names := []string{}
	for _, n := range o.Shards {
		c := o.up(n)
		want[c.Name], names = c, append(names, c.Name)
	}
	clustered := nc.ConnectedClusterName() != ""
	for _, name := range append(names, wire.BucketStream, wire.ContentStream, outbox.Stream) {
		s, err := js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			out = append(out, Finding{Unsafe, name, "is not there: poshub stream init makes it"})
			continue
		}
		if err != nil {
			return out, fmt.Errorf("stream %s: %w", name, err)
		}
		found := checkStream(s.CachedInfo(), want[name], clustered)
		if len(found) == 0 {
			found = []Finding{{Fine, name, fmt.Sprintf("%d replicas, %s", s.CachedInfo().Config.Replicas, age(s.CachedInfo().Config.MaxAge))}}
		}
		out = append(out, found...)
	}
	return append(out, checkServers(ctx, nc, monitors)...), nil
}

func age(d time.Duration) string {
	if d == 0 {
		return "kept for ever"
	}
	return fmt.Sprintf("kept %d days", int(d.Hours()/24))
}

// checkStream is about one stream. The buckets are some too, of other settings.
func checkStream(i *jetstream.StreamInfo, want jetstream.StreamConfig, clustered bool) (out []Finding) {
	c := i.Config
	bad := func(is bool, format string, a ...any) {
		if is {
			out = append(out, Finding{Unsafe, c.Name, fmt.Sprintf(format, a...)})
		}
	}
	bad(c.Storage == jetstream.MemoryStorage, "storage is memory: a restart of the servers loses what they acknowledged")
	bad(clustered && c.Replicas < 3, "%d replicas in a cluster: when that server is lost, or away, so is the stream; make it 3", c.Replicas)
	bad(c.Replicas == 2, "2 replicas: either server's absence stops it, so it is worse than 1; make it 3")
	bad(!c.AllowDirect, "direct get is off: terminals find their place by it")
	if i.Cluster != nil && c.Replicas > 1 {
		for _, r := range i.Cluster.Replicas {
			bad(r.Offline || !r.Current, "replica %s is not up to date (offline %t, %d behind)", r.Name, r.Offline, r.Lag)
		}
	}
	if want.Name == "" { // a bucket
		bad(c.Name == wire.BucketStream && (c.RePublish == nil || c.RePublish.Source != wire.BucketPrefix+">" || c.RePublish.Destination != wire.LivePrefix+">"),
			"does not republish %s> as %s>: terminals hear of nothing until they reconnect", wire.BucketPrefix, wire.LivePrefix)
		bad(c.MaxAge != 0, "keys end after %s: terminals would lose their watermark, or what their catalogue is made of", c.MaxAge)
		return out
	}
	bad(!slices.Equal(c.Subjects, want.Subjects), "takes %s, not %s", strings.Join(c.Subjects, ", "), strings.Join(want.Subjects, ", "))
	bad(c.Retention != jetstream.LimitsPolicy, "retention is %s: messages go away when somebody has read them", c.Retention)
	bad(c.Discard != jetstream.DiscardNew, "discards old messages when it is full, instead of refusing new ones: what nobody has read is lost silently")
	bad(c.MaxAge != 0 && c.MaxAge < minAge, "keeps messages for %s only: less than a terminal may be offline, or a backup old; at least %s", c.MaxAge, minAge)
	bad(c.MaxMsgsPerSubject > 0, "max_msgs_per_subject is %d: it drops or refuses single messages", c.MaxMsgsPerSubject)
	bad(c.MaxMsgs > 0, "max_msgs is %d: it refuses more, though there is room", c.MaxMsgs)
	bad(!c.DenyDelete, "messages may be deleted")
	bad(want.Name == outbox.Stream && !c.AllowAtomicPublish, "allow_atomic is off: events are published one by one, slowly")
	bad(c.Name != outbox.Stream && c.MaxMsgSize > 0 && c.MaxMsgSize < maxPayload, "max_msg_size is %d: a parcel may have %d", c.MaxMsgSize, maxPayload)
	bad(c.NoAck, "does not acknowledge")
	bad(c.Sealed, "is sealed: it takes nothing more")
	return out
}

// checkServers is about how the servers write, and what they let through.
func checkServers(ctx context.Context, nc *nats.Conn, monitors []string) (out []Finding) {
	if n := nc.MaxPayload(); n < maxPayload {
		out = append(out, Finding{Unsafe, "server", fmt.Sprintf("max_payload is %d: a parcel may have %d", n, maxPayload)})
	}
	if len(monitors) == 0 {
		return append(out, Finding{Unknown, "server",
			"sync_interval cannot be read here: check jetstream { sync_interval: always } in each server's configuration, or give --monitor http://host:8222. " +
				"With the default of two minutes a power cut loses what was acknowledged; terminals send it again, events are published again"})
	}
	for _, url := range monitors {
		out = append(out, checkMonitor(ctx, url))
	}
	return out
}

// maxVarz bounds the answer of a monitoring port.
const maxVarz = 4 << 20

func checkMonitor(ctx context.Context, url string) Finding {
	unknown := func(err error) Finding {
		return Finding{Unknown, url, fmt.Sprintf("sync_interval cannot be read: %v", err)}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/varz", nil)
	if err != nil {
		return unknown(err)
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return unknown(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, maxVarz))
	if err != nil {
		return unknown(err)
	}
	var v struct {
		Name      string `json:"server_name"`
		JetStream struct {
			Config *struct {
				SyncInterval time.Duration `json:"sync_interval"`
				SyncAlways   bool          `json:"sync_always"`
			} `json:"config"`
		} `json:"jetstream"`
	}
	if err := json.Unmarshal(b, &v); err != nil || r.StatusCode != http.StatusOK {
		return unknown(fmt.Errorf("%s gave no /varz: %s", url, r.Status))
	}
	of := "server " + v.Name
	switch c := v.JetStream.Config; {
	case c == nil:
		return Finding{Unsafe, of, "has no JetStream"}
	case !c.SyncAlways:
		return Finding{Unsafe, of, fmt.Sprintf("syncs every %s: a power cut loses what was acknowledged since; terminals send it again, at a price. Set jetstream { sync_interval: always }", c.SyncInterval)}
	}
	return Finding{Fine, of, "syncs before it acknowledges"}
}
