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
	r.object([]string{"first", "last", "head", "file", "offset", "reason"}, func(name string) bool {
		switch name {
		case "first":
			e.First = r.unsigned()
		case "last":
			e.Last = r.unsigned()
		case "head":
			e.Head = r.text()
		case "file":
			e.File = r.text()
		case "offset":
			e.Offset = r.unsigned()
		case "reason":
			e.Reason = r.text()
		default:
			return false
		}
		return true
	})
	return finish(r, e)
}
