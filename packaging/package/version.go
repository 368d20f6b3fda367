package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

var (
	tagged  = regexp.MustCompile(`^v?([0-9]+(?:\.[0-9]+)*)(?:-((?:alpha|beta|rc)[.0-9]*))?(?:-([0-9]+)-g([0-9a-f]+))?(-dirty)?$`)
	foreign = regexp.MustCompile(`[^A-Za-z0-9.+~]+`)
)

// version makes of a release, as git describe names it, a version that dpkg and
// opkg sort rightly: 1.4.0~rc1 < 1.4.0 < 1.4.0+3.gabc1234 < 1.4.1. A release
// without a number sorts by the time of its sources, below every number.
func version(release string, at time.Time) string {
	m := tagged.FindStringSubmatch(release)
	// A commit's name may consist of digits alone; a release has a dot.
	if m == nil || !strings.Contains(m[1], ".") {
		rest := strings.Trim(foreign.ReplaceAllString(release, "."), ".")
		if rest == "" {
			rest = "unreleased"
		}
		return fmt.Sprintf("0~%s.%s", at.Format("20060102150405"), rest)
	}
	v := m[1]
	if m[2] != "" {
		v += "~" + m[2]
	}
	if m[3] != "" {
		v += "+" + m[3] + ".g" + m[4]
	}
	if m[5] != "" {
		v += "+dirty"
	}
	return v
}
