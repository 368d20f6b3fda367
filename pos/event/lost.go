package event

// AppendEvent is like SaleCompleted.AppendEvent.
func (e *RecordsLost) AppendEvent(dst []byte, h Header) ([]byte, error) {
	dst = appendHeader(dst, TypeRecordsLost, h)
	dst = appendUint(dst, `{"first":`, e.First)
	dst = appendUint(dst, `,"last":`, e.Last)
	dst = appendText(dst, `,"head":`, e.Head)
	dst = appendText(dst, `,"file":`, e.File)
	dst = appendUint(dst, `,"offset":`, e.Offset)
	dst = appendText(dst, `,"reason":`, e.Reason)
	return append(dst, "}}"...), nil
}

// ParseRecordsLost reads the data of a records.lost. Errors: ErrMalformed.
func ParseRecordsLost(data []byte) (RecordsLost, error) {
	var e RecordsLost
	r := newReader(data)
	r.object(members{
		{"first", &e.First, must},
		{"last", &e.Last, must},
		{"head", &e.Head, must},
		{"file", &e.File, must},
		{"offset", &e.Offset, must},
		{"reason", &e.Reason, must},
	})
	return finish(r, e)
}
