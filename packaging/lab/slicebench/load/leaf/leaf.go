// Package leaf has what the two ends of the NATS peer agree on.
package leaf

import (
	"time"

	"github.com/nats-io/nats.go"
)

// Names of the NATS peer.
const (
	Stream       = "SALES"
	Subject      = "sales.t1"
	OfficeStream = "HEADOFFICE"
)

// Config is the stream on the till.
func Config() *nats.StreamConfig {
	return &nats.StreamConfig{Name: Stream, Subjects: []string{Subject}, Storage: nats.FileStorage, Duplicates: 2 * time.Minute}
}

// OfficeConfig is the one at head office, which takes the till's over.
func OfficeConfig() *nats.StreamConfig {
	return &nats.StreamConfig{Name: OfficeStream, Storage: nats.FileStorage,
		Sources: []*nats.StreamSource{{Name: Stream, External: &nats.ExternalStream{APIPrefix: "$JS.leaf.API"}}}}
}
