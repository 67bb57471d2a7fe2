package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/weirstream/weir/proto"
)

const (
	metaPartitions = "weir_partitions" // in the metadata of WEIR_RAW
	leaseBucket    = "WEIR_LEASES"
	dedupeWindow   = 10 * time.Minute

	defaultRawBytes      = 1 << 30
	defaultEnrichedBytes = 2 << 30
	defaultLatencyBytes  = 3 << 30
	defaultRollupBytes   = 1 << 30
	defaultHistoryBytes  = 256 << 20
	alertBytes           = 64 << 20
	recordedBytes        = 384 << 20
	bucketBytes          = 16 << 20
)

// Layout is what an install decides about its streams. Bytes are bounds on
// disk, reserved by the server; 0 means 1, 2, 3, 1 and ¼ GiB.
type Layout struct {
	Partitions    int // power of two, 1 … 64, for life; 0 means 1
	Replicas      int // 0 means 1
	RawBytes      int64
	EnrichedBytes int64
	LatencyBytes  int64
	RollupBytes   int64
	HistoryBytes  int64
}

func (l Layout) withDefaults() (Layout, error) {
	if l.Partitions == 0 {
		l.Partitions = 1
	}
	if l.Partitions < 1 || l.Partitions > proto.MaxPartitions || l.Partitions&(l.Partitions-1) != 0 {
		return l, fmt.Errorf("partitions %d: must be a power of two from 1 to %d", l.Partitions, proto.MaxPartitions)
	}
	l.Replicas = max(l.Replicas, 1)
	for _, d := range []struct {
		bytes *int64
		def   int64
	}{
		{&l.RawBytes, defaultRawBytes}, {&l.EnrichedBytes, defaultEnrichedBytes}, {&l.LatencyBytes, defaultLatencyBytes},
		{&l.RollupBytes, defaultRollupBytes}, {&l.HistoryBytes, defaultHistoryBytes},
	} {
		if *d.bytes <= 0 {
			*d.bytes = d.def
		}
	}
	return l, nil
}

// streams are the streams of a layout, as docs/wire.md lists them.
func (l Layout) streams() []jetstream.StreamConfig {
	raw := l.stream(proto.StreamRaw, 2*time.Hour, l.RawBytes, proto.SubjectsRaw)
	raw.AllowDirect = true
	raw.Metadata = map[string]string{metaPartitions: strconv.Itoa(l.Partitions)}

	enriched := l.stream(proto.StreamEnriched, 4*time.Hour, l.EnrichedBytes, proto.SubjectsEnriched)

	latency := l.stream(proto.StreamLatency, 24*time.Hour, l.LatencyBytes, proto.SubjectsLatency, proto.SubjectsCommit)
	latency.AllowDirect = true
	latency.AllowAtomicPublish = true
	latency.Compression = jetstream.S2Compression
	latency.DenyDelete, latency.DenyPurge = true, true
	latency.RePublish = &jetstream.RePublish{Source: proto.SubjectsLatency, Destination: proto.SubjectsLive}

	rollup := l.stream(proto.StreamRollup, 24*time.Hour, l.RollupBytes, proto.SubjectsRollup, proto.SubjectRollupCommit)
	history := l.stream(proto.StreamHistory, 4*24*time.Hour, l.HistoryBytes, proto.SubjectsHistory, proto.SubjectHistoryCommit)
	for _, sums := range []*jetstream.StreamConfig{&rollup, &history} {
		sums.AllowAtomicPublish = true
		sums.Compression = jetstream.S2Compression
		sums.DenyDelete, sums.DenyPurge = true, true
	}

	alerts := l.stream(proto.StreamAlerts, 24*time.Hour, alertBytes, proto.SubjectsAlert, proto.SubjectAlertCommit, proto.SubjectAlertRules)
	alerts.AllowAtomicPublish = true

	recorded := l.stream(proto.StreamRecorded, 4*24*time.Hour, recordedBytes, proto.SubjectsRecorded, proto.SubjectRecordedCommit)
	recorded.AllowAtomicPublish = true
	recorded.Compression = jetstream.S2Compression
	recorded.DenyDelete, recorded.DenyPurge = true, true
	return []jetstream.StreamConfig{raw, enriched, latency, rollup, history, alerts, recorded}
}

func (l Layout) stream(name string, maxAge time.Duration, maxBytes int64, subjects ...string) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:       name,
		Subjects:   subjects,
		Retention:  jetstream.LimitsPolicy,
		Storage:    jetstream.FileStorage,
		Discard:    jetstream.DiscardOld,
		MaxAge:     maxAge,
		MaxBytes:   maxBytes,
		Replicas:   l.Replicas,
		Duplicates: dedupeWindow,
	}
}

// Provision creates the streams and the buckets that do not exist yet.
// It changes nothing, and says what differs, if a stream has a configuration
// that promises something else. Sizes are the exception: a larger bound is
// applied, a smaller one is not, since it would delete data.
func (c *Conn) Provision(ctx context.Context, l Layout) error {
	l, err := l.withDefaults()
	if err != nil {
		return err
	}
	wanted := l.streams()
	var create, update []jetstream.StreamConfig
	for _, want := range wanted {
		have, err := c.streamConfig(ctx, want.Name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			create = append(create, want)
			continue
		case err != nil:
			return fmt.Errorf("provision stream %s: %w", want.Name, jetstreamError(err))
		}
		more, grown := grow(want, have)
		if len(differences(want, more)) == 0 {
			have = more
		}
		if diffs := differences(want, have); len(diffs) > 0 {
			return fmt.Errorf("stream %s exists with another configuration (%s): "+
				"change it with `nats stream edit %s`, or use another NATS account or data folder; nothing was changed",
				want.Name, strings.Join(diffs, ", "), want.Name)
		}
		if have.MaxBytes > 0 && have.MaxBytes < want.MaxBytes {
			have.MaxBytes, grown = want.MaxBytes, true
		}
		if grown {
			update = append(update, have)
		}
	}
	return c.apply(ctx, create, update, l.Replicas)
}

// grow is a stream with what this version has beyond an earlier one: more
// subjects, and atomic batches. Nothing that was promised changes by that.
func grow(want, have jetstream.StreamConfig) (more jetstream.StreamConfig, grown bool) {
	fewer := len(have.Subjects) < len(want.Subjects)
	for _, s := range have.Subjects {
		fewer = fewer && slices.Contains(want.Subjects, s)
	}
	if fewer {
		have.Subjects, grown = want.Subjects, true
	}
	if want.AllowAtomicPublish && !have.AllowAtomicPublish {
		have.AllowAtomicPublish, grown = true, true
	}
	return have, grown
}

func (c *Conn) apply(ctx context.Context, create, update []jetstream.StreamConfig, replicas int) error {
	for _, cfg := range create {
		err := c.ask(ctx, apiCreate+cfg.Name, func(a context.Context) error {
			_, err := c.js.CreateStream(a, cfg)
			return err
		})
		if err != nil {
			return fmt.Errorf("create stream %s: %w", cfg.Name, jetstreamError(err))
		}
		c.log.Info("stream_created", "stream", cfg.Name, "max_bytes", cfg.MaxBytes, "replicas", cfg.Replicas)
	}
	for _, cfg := range update {
		err := c.ask(ctx, apiUpdate+cfg.Name, func(a context.Context) error {
			_, err := c.js.UpdateStream(a, cfg)
			return err
		})
		if err != nil {
			return fmt.Errorf("enlarge stream %s: %w", cfg.Name, jetstreamError(err))
		}
		c.log.Info("stream_enlarged", "stream", cfg.Name, "max_bytes", cfg.MaxBytes)
	}
	for _, cfg := range buckets(replicas) {
		if _, err := c.streamConfig(ctx, bucketStream(cfg.Bucket)); err == nil {
			continue
		}
		err := c.ask(ctx, apiCreate+bucketStream(cfg.Bucket), func(a context.Context) error {
			_, err := c.js.CreateKeyValue(a, cfg)
			return err
		})
		if err != nil {
			return fmt.Errorf("create bucket %s: %w", cfg.Bucket, jetstreamError(err))
		}
	}
	return nil
}

// buckets are those of an install.
func buckets(replicas int) []jetstream.KeyValueConfig {
	bucket := func(name string) jetstream.KeyValueConfig {
		return jetstream.KeyValueConfig{
			Bucket: name, History: 1, MaxBytes: bucketBytes, Storage: jetstream.FileStorage, Replicas: replicas,
		}
	}
	leftOut := bucket(proto.BucketLeftOut)
	leftOut.LimitMarkerTTL = markerTime
	silences := bucket(proto.BucketSilences)
	silences.LimitMarkerTTL = markerTime
	return []jetstream.KeyValueConfig{bucket(leaseBucket), leftOut, silences}
}

// Partitions reads the number of partitions of the install.
func (c *Conn) Partitions(ctx context.Context) (int, error) {
	cfg, err := c.streamConfig(ctx, proto.StreamRaw)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = ErrNoStream
	}
	if err != nil {
		return 0, fmt.Errorf("read partitions of %s: %w", proto.StreamRaw, err)
	}
	n, err := strconv.Atoi(cfg.Metadata[metaPartitions])
	if err != nil || n < 1 || n > proto.MaxPartitions {
		return 0, fmt.Errorf("read partitions of %s: metadata %s is %q", proto.StreamRaw, metaPartitions, cfg.Metadata[metaPartitions])
	}
	return n, nil
}

func (c *Conn) streamConfig(ctx context.Context, name string) (jetstream.StreamConfig, error) {
	var s jetstream.Stream
	err := c.ask(ctx, apiInfo+name, func(a context.Context) (err error) {
		s, err = c.js.Stream(a, name)
		return err
	})
	if err != nil {
		return jetstream.StreamConfig{}, err
	}
	return s.CachedInfo().Config, nil
}

// differences lists what of the guarantees have does not share with want.
func differences(want, have jetstream.StreamConfig) []string {
	var out []string
	check := func(what string, want, have any) {
		if want != have {
			out = append(out, fmt.Sprintf("%s is %v, should be %v", what, have, want))
		}
	}
	check("partitions", want.Metadata[metaPartitions], have.Metadata[metaPartitions])
	check("subjects", joined(want.Subjects), joined(have.Subjects))
	check("retention", want.Retention, have.Retention)
	check("storage", want.Storage, have.Storage)
	check("discard", want.Discard, have.Discard)
	check("max_age", want.MaxAge, have.MaxAge)
	check("replicas", want.Replicas, have.Replicas)
	check("duplicate_window", want.Duplicates, have.Duplicates)
	check("compression", want.Compression, have.Compression)
	check("allow_atomic", want.AllowAtomicPublish, have.AllowAtomicPublish)
	check("deny_delete", want.DenyDelete, have.DenyDelete)
	check("deny_purge", want.DenyPurge, have.DenyPurge)
	check("republish", republish(want.RePublish), republish(have.RePublish))
	check("message limit", int64(0), max(have.MaxMsgs, have.MaxMsgsPerSubject, 0))
	if want.AllowDirect {
		check("allow_direct", true, have.AllowDirect)
	}
	return out
}

func joined(subjects []string) string {
	s := slices.Clone(subjects)
	slices.Sort(s)
	return strings.Join(s, " ")
}

func republish(r *jetstream.RePublish) string {
	if r == nil {
		return "none"
	}
	return r.Source + " → " + r.Destination
}

// jetstreamError says what to do about what people run into.
func jetstreamError(err error) error {
	const insufficientStorage = 10047
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("the server has no JetStream: start it with `nats-server -js`: %w", err)
	case errorCode(err) == insufficientStorage:
		return fmt.Errorf("the server's disk has no room for the streams' bounds: make them smaller or the disk larger: %w", err)
	}
	return err
}
