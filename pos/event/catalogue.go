package event

// Names of the events about catalogues from head office.
const (
	TypeCatalogueApplied = "catalogue.applied"
	TypeCatalogueRefused = "catalogue.refused"
)

// CatalogueApplied is written when a catalogue from head office is in use: lines that are
// added behind it in the journal are priced by it; some before it may be, too.
type CatalogueApplied struct {
	Serial  uint64 // of the order
	Version string
	Former  string // version of the one before; empty: there was none
	Items   uint64 // in it
}

// CatalogueRefused is written when a catalogue from head office is not taken. The one
// before stays in use.
type CatalogueRefused struct {
	Serial  uint64
	Version string // that was refused; empty: the order could not be read
	InUse   string // version that stays; empty: there is none
	Reason  string
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *CatalogueApplied) AppendEvent(dst []byte, h Header) ([]byte, error) {
	dst = appendHeader(dst, TypeCatalogueApplied, h)
	dst = appendUint(dst, `{"serial":`, e.Serial)
	dst = appendText(dst, `,"version":`, e.Version)
	dst = appendSome(dst, `,"former":`, e.Former)
	dst = appendUint(dst, `,"items":`, e.Items)
	return append(dst, "}}"...), nil
}

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *CatalogueRefused) AppendEvent(dst []byte, h Header) ([]byte, error) {
	dst = appendHeader(dst, TypeCatalogueRefused, h)
	dst = appendUint(dst, `{"serial":`, e.Serial)
	dst = appendSome(dst, `,"version":`, e.Version)
	dst = appendSome(dst, `,"in_use":`, e.InUse)
	dst = appendText(dst, `,"reason":`, e.Reason)
	return append(dst, "}}"...), nil
}

// ParseCatalogueApplied reads the data of a catalogue.applied. Errors: ErrMalformed.
func ParseCatalogueApplied(data []byte) (CatalogueApplied, error) {
	var e CatalogueApplied
	r := newReader(data)
	r.object(members{
		{"serial", &e.Serial, must},
		{"version", &e.Version, must},
		{"former", &e.Former, may},
		{"items", &e.Items, must},
	})
	return finish(r, e)
}

// ParseCatalogueRefused reads the data of a catalogue.refused. Errors: ErrMalformed.
func ParseCatalogueRefused(data []byte) (CatalogueRefused, error) {
	var e CatalogueRefused
	r := newReader(data)
	r.object(members{
		{"serial", &e.Serial, must},
		{"version", &e.Version, may},
		{"in_use", &e.InUse, may},
		{"reason", &e.Reason, must},
	})
	return finish(r, e)
}
