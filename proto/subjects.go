package proto

import (
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
)

// Streams.
const (
	StreamRaw      = "WEIR_RAW"
	StreamEnriched = "WEIR_ENRICHED"
	StreamLatency  = "WEIR_LATENCY"
	StreamRollup   = "WEIR_ROLLUP"
	StreamHistory  = "WEIR_HISTORY"
	StreamAlerts   = "WEIR_ALERTS"
	StreamRecorded = "WEIR_RECORDED"
)

// Subject wildcards: what each stream stores, and what subscribers ask for.
const (
	SubjectsRaw      = "weir.raw.>"
	SubjectsEnriched = "weir.enriched.*"
	SubjectsLatency  = "weir.latency.>"
	SubjectsCommit   = "weir.commit.*"
	SubjectsRollup   = "weir.rollup.>"
	SubjectsHistory  = "weir.history.>"
	SubjectsAlert    = "weir.alert.>"
	SubjectsRecorded = "weir.recorded.*"

	// SubjectsLive is where committed messages of WEIR_LATENCY are
	// republished for core NATS subscribers, at most once.
	SubjectsLive = "weir.live.latency.>"
	LivePrefix   = "weir.live.latency."
)

// Lanes of the roll-ups: their commit records. There is one for all partitions.
const (
	SubjectRollupCommit  = "weir.rollup-commit"
	SubjectHistoryCommit = "weir.history-commit"
)

// Rollup is a stream that holds what another holds, summed by an interval.
type Rollup struct {
	Stream   string
	Input    string // the stream that it sums
	Subjects string // of the sums
	Commit   string // of their commit records: the lane
	StepNS   int64  // the interval
}

// Minutes sums WEIR_LATENCY, and HalfHours the minutes.
var (
	Minutes   = Rollup{StreamRollup, StreamLatency, SubjectsRollup, SubjectRollupCommit, RollupNS}
	HalfHours = Rollup{StreamHistory, StreamRollup, SubjectsHistory, SubjectHistoryCommit, HistoryNS}
)

// Subject is where a workload's sums are.
func (r *Rollup) Subject(namespace, workload string) string {
	return strings.TrimSuffix(r.Subjects, ">") + Token(namespace) + "." + Token(workload)
}

// SubjectAlertCommit is the lane of the alerter: what it knows after each round.
const SubjectAlertCommit = "weir.alert-commit"

// SubjectAlertLive is where the alerter says what it knows after a round that it
// stores nothing of, at most once: nothing began or ended, and values are others.
const SubjectAlertLive = "weir.live.alert-commit"

// SubjectRecordedCommit is the lane of what rules record: an empty message ends
// each batch, and keeps rivals apart.
const SubjectRecordedCommit = "weir.recorded-commit"

// SubjectAlertRules is where the alerter says what rules it evaluates.
const SubjectAlertRules = "weir.alert-rules"

// BucketSilences is the key-value bucket of silences: of which alerts webhooks
// don't hear for a while.
const BucketSilences = "WEIR_SILENCES"

// Headers of a message on a lane.
const (
	HeaderEpoch = "Weir-Epoch" // the writer's epoch, as [Epoch.String] prints it
	HeaderSeq   = "Weir-Seq"   // the message's number within the epoch, decimal
	HeaderSrc   = "Weir-Src"   // stream sequence of the input consumed up to and including, decimal
	HeaderCount = "Weir-Count" // events in the message, decimal
)

// Headers of a replayed message: where it comes from. Its bytes and its lane's
// headers are the original's.
const (
	HeaderOriginalStream   = "Weir-Original-Stream"
	HeaderOriginalSubject  = "Weir-Original-Subject"
	HeaderOriginalSequence = "Weir-Original-Sequence" // in that stream, decimal
	HeaderOriginalTime     = "Weir-Original-Time"     // when that stream stored it, RFC 3339
)

// Namespaces of workloads that are not Kubernetes'.
const (
	NamespaceHost     = "host"     // of a plain host
	NamespaceExternal = "external" // of addresses outside
)

// MaxPartitions is the largest number of partitions of an install. The number
// is a power of two, fixed when the streams are made.
const MaxPartitions = 64

// Partition is the virtual partition, 0 ≤ p < partitions, that a node's events
// belong to: the 32-bit FNV-1a hash of its name modulo the number of partitions.
func Partition(node string, partitions uint32) uint32 {
	h := fnv.New32a()
	h.Write([]byte(node)) // never fails
	return h.Sum32() % partitions
}

// Token makes one subject token of a name: every byte outside A–Z a–z 0–9 -
// becomes _, and the empty name is _. The true name is in the message.
func Token(name string) string {
	if name == "" {
		return "_"
	}
	b := []byte(name)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' {
			continue
		}
		b[i] = '_'
	}
	return string(b)
}

// PartitionToken is how a partition is written in subjects: p00, p01, ….
func PartitionToken(partition uint32) string { return fmt.Sprintf("p%02d", partition) }

// RawSubject is the lane of a node's agent.
func RawSubject(partition uint32, node string) string {
	return "weir.raw." + PartitionToken(partition) + "." + Token(node)
}

// RawPartitionSubjects matches the lanes of all nodes of a partition.
func RawPartitionSubjects(partition uint32) string {
	return "weir.raw." + PartitionToken(partition) + ".*"
}

// SeenSubject is where the enrichers of other partitions tell a partition's
// whose sockets they have seen, outside any stream: enriched frames whose events
// have an address and a name at the end that was seen.
func SeenSubject(partition uint32) string { return "weir.seen." + PartitionToken(partition) }

// EnrichedSubject is the lane of a partition's enricher.
func EnrichedSubject(partition uint32) string { return "weir.enriched." + PartitionToken(partition) }

// CommitSubject is the lane of a partition's aggregator: its commit records.
func CommitSubject(partition uint32) string { return "weir.commit." + PartitionToken(partition) }

// IsCommit reports whether a subject of WEIR_LATENCY is that of commit records.
func IsCommit(subject string) bool { return strings.HasPrefix(subject, "weir.commit.") }

// LatencySubject is where a workload's histogram deltas are.
func LatencySubject(namespace, workload string) string {
	return "weir.latency." + Token(namespace) + "." + Token(workload)
}

// LiveSubject is where the same messages are republished once committed.
func LiveSubject(namespace, workload string) string {
	return LivePrefix + Token(namespace) + "." + Token(workload)
}

// AlertSubject is where changes of an alert's state are.
func AlertSubject(severity, name string) string {
	return "weir.alert." + Token(severity) + "." + Token(name)
}

// RecordedSubject is where what the rules of a group record is.
func RecordedSubject(group string) string { return "weir.recorded." + Token(group) }

// MsgID is the Nats-Msg-Id of a message on a lane: the same bytes sent again
// have the same id, within ten minutes the server stores them once.
func MsgID(lane string, epoch Epoch, seq uint64) string {
	return lane + "." + epoch.String() + "." + strconv.FormatUint(seq, 10)
}

// String is the epoch as the Weir-Epoch header carries it: <number>-<id>.
func (e Epoch) String() string { return strconv.FormatUint(e.Number, 10) + "-" + e.ID }

// ParseEpoch reads what [Epoch.String] prints.
func ParseEpoch(s string) (Epoch, error) {
	number, id, ok := strings.Cut(s, "-")
	n, err := strconv.ParseUint(number, 10, 64)
	if !ok || err != nil {
		return Epoch{}, fmt.Errorf("parse epoch %q: not <number>-<id>", s)
	}
	return Epoch{Number: n, ID: id}, nil
}
