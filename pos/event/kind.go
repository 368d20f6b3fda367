package event

import "bytes"

// KindOf is the type of an event as it stands in a journal, empty if it cannot be told.
// One of this release's form is not parsed for that.
func KindOf(b []byte) string {
	if rest, ok := bytes.CutPrefix(b, []byte(`{"v":1,"type":"`)); ok {
		if n := bytes.IndexByte(rest, '"'); n >= 0 && bytes.IndexByte(rest[:n], '\\') < 0 {
			return string(rest[:n])
		}
	}
	h, _, err := Parse(b)
	if err != nil {
		return ""
	}
	return h.Type
}
