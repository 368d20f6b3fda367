package config

import (
	"fmt"
	"strings"
	"time"

	"posd/pos"
)

// maxRates bounds how many changes of one code a table may foresee.
const maxRates = 16

// parseTax reads "19", and behind it "16 from 2027-07-01" in the order of the days.
func parseTax(list []string) (t pos.Tax, bad *fault) {
	if len(list) == 0 || len(list) > maxRates {
		return t, &fault{fmt.Sprintf("a list of %d rates", len(list)), fmt.Sprintf(`give 1 to %d, such as ["19", "16 from 2027-07-01"]`, maxRates)}
	}
	for i, s := range list {
		text, from, later := strings.Cut(s, " from ")
		rate, err := pos.ParseRate(strings.TrimSuffix(strings.TrimSpace(text), "%"))
		switch {
		case err != nil:
			return t, &fault{err.Error(), `write percent, such as "19" or "7.25"`}
		case rate > 1_000_000:
			return t, &fault{text + " percent is out of range", `give "0" to "100"`}
		case later == (i == 0):
			return t, &fault{fmt.Sprintf("%q", s), `the first rate has no day, each further one says from when it holds: ["19", "16 from 2027-07-01"]`}
		case i == 0:
			t.Rate = rate
			continue
		}
		from = strings.TrimSpace(from)
		if day, err := time.Parse(time.DateOnly, from); err != nil || day.Year() < 1 {
			return t, &fault{fmt.Sprintf("%q is not a day", from), "write one such as 2027-07-01"}
		}
		if n := len(t.Later); n > 0 && t.Later[n-1].From >= from {
			return t, &fault{fmt.Sprintf("%s does not come behind %s", from, t.Later[n-1].From), "put the rates into the order of their days, each day once"}
		}
		t.Later = append(t.Later, pos.LaterRate{From: from, Rate: rate})
	}
	return t, nil
}

// formatTax writes the value as posd.toml has it.
func formatTax(t *pos.Tax) string {
	s := `"` + t.Rate.String() + `"`
	if len(t.Later) == 0 {
		return s
	}
	for _, l := range t.Later {
		s += `, "` + l.Rate.String() + " from " + l.From + `"`
	}
	return "[" + s + "]"
}
