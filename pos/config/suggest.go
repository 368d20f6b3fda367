package config

import (
	"fmt"
	"strings"
)

// suggest is the remedy for an unknown key: the nearest known one, or where to look.
func suggest(name string) string {
	best, distance := "", len(name)/3+1
	_, last, inTable := strings.Cut(name, ".")
	for i := range keys {
		k := keys[i].name
		table, word, _ := strings.Cut(k, ".")
		n := editDistance(name, k)
		if word == name || inTable && word == last {
			n = min(n, 1) // a known word in the wrong table, or in none
		}
		if !inTable && editDistance(name, table) < n {
			k, n = "["+table+"]", editDistance(name, table)
		}
		if n < distance {
			best, distance = k, n
		}
	}
	if best == "" {
		return "remove it, or look it up in docs/config.md"
	}
	return fmt.Sprintf("did you mean %s?", best)
}

// editDistance is the Levenshtein distance of two short ASCII words.
func editDistance(a, b string) int {
	if len(a) > 64 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			substitute := diagonal
			if a[i-1] != b[j-1] {
				substitute++
			}
			diagonal = row[j]
			row[j] = min(substitute, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
